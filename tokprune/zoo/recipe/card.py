"""The birth certificate of a trained model: how it was made and how well it answers."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch


def machine(device: torch.device) -> str:
    """The kind of machine, without its name."""
    if device.type == "cuda":
        return f"one {torch.cuda.get_device_name(device)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores}-core CPU ({platform.machine()}), {torch.get_num_threads()} threads"


def build_card(
    command: str, seed: int, device: torch.device, minutes: dict[str, float], model: Any, scores: dict[str, Any]
) -> dict[str, Any]:
    """Everything that one needs to know to make the model again and to check it."""
    return {
        "command": command,
        "seed": seed,
        "machine": machine(device),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "minutes": {**minutes, "total": round(sum(minutes.values()), 1)},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights": "stored as float16, loaded as float32; scores are those of the stored weights",
        "scored_on": "shapes-vqa, split test, seed 0, greedy generate",
        "scores": scores,
    }
