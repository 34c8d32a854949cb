"""The whole training, from nothing to a folder that `from_pretrained` reads."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from tokprune.zoo.architecture import build_model
from tokprune.zoo.processor import build_processor
from tokprune.zoo.recipe.connector import Connector, ConnectorLoss
from tokprune.zoo.recipe.encoder import EncoderLoss, EncoderWithHeads, all_features
from tokprune.zoo.recipe.language import LanguageLearner, LanguageLoss
from tokprune.zoo.recipe.loop import Loss, Outcome, Stage, lazily, run_stage
from tokprune.zoo.recipe.pool import FIRST, SECOND, Mix, Pool, build_pool
from tokprune.zoo.recipe.settings import Settings

MakePool = Callable[[], Pool]


class Training:
    """One run in one folder; whatever its checkpoints already hold is not done again."""

    def __init__(self, settings: Settings, folder: Path, device: torch.device, progress: Progress) -> None:
        self.settings, self.folder, self.device, self.progress = settings, folder, device, progress
        self.outcomes: dict[str, Outcome] = {}
        settings.claim(folder)
        random.seed(settings.seed)
        np.random.seed(settings.seed % 2**32)
        torch.manual_seed(settings.seed)
        self.model = build_model(settings.width, settings.layers, settings.heads, settings.queries).to(device)

    def run(self) -> Any:
        """Pool, language model, image encoder, Q-Former in two rounds; returns the trained model."""
        first = self.pool(self.settings.seed, FIRST)
        self.language(first)
        self.encoder(first)
        connector = Connector(self.model)
        self.connect(connector, first)
        del first  # two at once are more than a small machine may hold
        self.polish(connector, self.pool(self.settings.seed + 1, SECOND))
        return self.model.eval()

    def pool(self, seed: int, mix: Mix) -> MakePool:
        """A training pool, drawn when it is first needed: a minute or so, and the same every time."""

        def make() -> Pool:
            task = self.progress.add_task("drawing scenes", total=self.settings.scenes)
            return build_pool(self.settings.scenes, seed, mix, lambda: self.progress.advance(task))

        return cache(make)

    def language(self, pool: MakePool) -> None:
        """Stage 1; freezes the language model."""
        s = self.settings
        learner = LanguageLearner(self.model.language_model, s.width).to(self.device)
        eos = self.model.config.text_config.eos_token_id
        loss = lazily(lambda: LanguageLoss(learner, pool(), s.queries, eos, s.language_batch, s.packed, self.device))
        self._run(Stage("language", learner, loss, s.language_steps, 1e-3, s.seed + 1))
        self.model.language_model.requires_grad_(False)

    def encoder(self, pool: MakePool) -> None:
        """Stage 2; freezes the image encoder."""
        s = self.settings
        learner = EncoderWithHeads(self.model.vision_model, s.width).to(self.device)
        loss = lazily(lambda: EncoderLoss(learner, pool(), s.encoder_batch, self.device))
        self._run(Stage("encoder", learner, loss, s.encoder_steps, 2e-3, s.seed))
        self.model.vision_model.requires_grad_(False)

    def connect(self, connector: Connector, pool: MakePool) -> None:
        """Stage 3, first round: tries a few random starts for a while, then goes on with the one that came furthest."""
        s = self.settings
        loss = self._question_loss(connector, pool)
        stages = [
            Stage(f"connector-{probe}", connector, loss, s.connector_steps, 1e-3, s.seed + 2 + probe)
            for probe in range(s.probes)
        ]
        for stage in stages:
            connector.restart(stage.seed)
            self._run(stage, until=s.probe_steps)
        best = min(stages, key=lambda stage: self.outcomes[stage.name].probe_loss)
        self._run(best)

    def polish(self, connector: Connector, pool: MakePool) -> None:
        """Stage 3, second round: the same on another pool."""
        s = self.settings
        loss = self._question_loss(connector, pool)
        self._run(Stage("polish", connector, loss, s.polish_steps, 7e-4, s.seed + 1000))

    def _question_loss(self, connector: Connector, pool: MakePool) -> Loss:
        s, language_model = self.settings, self.model.language_model

        def make() -> Loss:
            features = all_features(self.model.vision_model, pool(), self.device)
            return ConnectorLoss(connector, language_model, features, pool(), s.connector_batch, s.packed, self.device)

        return lazily(make)

    def _run(self, stage: Stage, until: int | None = None) -> None:
        self.outcomes[stage.name] = run_stage(stage, self.folder, self.progress, until)

    def minutes(self) -> dict[str, float]:
        """Minutes that each stage has taken, over all runs in this folder."""
        return {name: round(outcome.seconds / 60, 1) for name, outcome in self.outcomes.items()}


def save(model: Any, folder: Path, queries: int) -> None:
    """Writes model and processor; weights in half precision, to be read as float32."""
    half = {name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=half)
    build_processor(queries).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner alone
