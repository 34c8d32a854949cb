"""How long and how large: the numbers of a training run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tokprune.errors import InvalidValueError


@dataclass(frozen=True)
class Settings:
    """The numbers of a training run; the defaults gave the bundled model."""

    seed: int = 0
    width: int = 128
    layers: int = 4
    heads: int = 4
    queries: int = 32
    scenes: int = 24_000
    """Scenes in the training pool, each with 18 questions."""
    encoder_steps: int = 1600
    encoder_batch: int = 64
    language_steps: int = 2800
    language_batch: int = 32
    connector_steps: int = 4800
    connector_batch: int = 32
    polish_steps: int = 2400
    """Steps of the Q-Former's second round, on new scenes with more of what is hard."""
    packed: int = 8
    """Questions behind one visual prefix."""
    probes: int = 2
    """Random starts of the Q-Former that are tried ..."""
    probe_steps: int = 300
    """... for so many steps each; the one with the lowest loss goes on."""
    questions: int = 7000
    """Held-out questions for the figures on the card."""

    def scaled(self, factor: float) -> Settings:
        """The same with `factor` times the steps."""
        if not factor > 0:
            raise InvalidValueError(f"the number of steps can be scaled by a positive number, not by {factor!r}")
        names = ("encoder_steps", "language_steps", "connector_steps", "probe_steps", "polish_steps")
        return replace(self, **{name: max(1, round(getattr(self, name) * factor)) for name in names})

    def claim(self, folder: Path) -> None:
        """Writes the settings into a training folder; refuses a folder where a run with others has begun."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "settings.json"
        if path.exists() and json.loads(path.read_text()) != asdict(self):
            raise InvalidValueError(
                f"{folder} holds a training run with other settings ({path.name}); "
                "give the same seed and scale to go on with it, or another folder to begin anew"
            )
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


SMOKE = Settings(
    width=32,
    layers=2,
    heads=2,
    queries=8,
    scenes=48,
    encoder_steps=4,
    encoder_batch=8,
    language_steps=4,
    language_batch=8,
    connector_steps=6,
    connector_batch=8,
    packed=4,
    probe_steps=2,
    polish_steps=3,
    questions=14,
)
"""A run of seconds that learns nothing: it shows that the whole road works."""
