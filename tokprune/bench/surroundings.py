"""Surroundings: device, versions, date and command of a measurement, for its birth certificate."""

from __future__ import annotations

import importlib
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn


def surroundings(model: nn.Module) -> dict[str, Any]:
    """Everything that a certificate says about where and when, and nothing about what was asked."""
    parameter = next(model.parameters())
    return {
        "revision": str(getattr(model.config, "_commit_hash", None) or ""),
        "device": device_name(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "attention": attention_of(model),
        "tokprune": package_version("tokprune"),
        "torch": torch.__version__,
        "transformers": package_version("transformers"),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def package_version(name: str) -> str:
    """The version of a package: of its installed distribution, else what it says itself, else nothing.

    A package that is only on the path has no distribution.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        pass
    try:
        return str(getattr(importlib.import_module(name), "__version__", ""))
    except ImportError:
        return ""


def device_name(device: torch.device) -> str:
    """The GPU's name, or the kind of processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


def processor_name() -> str:
    """The CPU as its maker calls it, and how many cores there are."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        what, colon, value = line.partition(":")
        if colon and what.strip() == "model name":
            name = value.strip()
            break
    return f"{name}, {os.cpu_count()} cores"


def attention_of(model: nn.Module) -> str:
    """`"sdpa"`, or `"sdpa, qformer_config: eager"` where a part has an implementation of its own."""
    config: Any = model.config
    whole = str(getattr(config, "_attn_implementation", None))
    parts = {
        name: str(part._attn_implementation)
        for name in getattr(config, "sub_configs", {})
        if (part := getattr(config, name, None)) is not None
    }
    return ", ".join([whole, *(f"{name}: {own}" for name, own in parts.items() if own != whole)])
