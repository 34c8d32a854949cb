"""Birth certificate: everything a number depends on besides the policy, kept beside the number."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from tokprune.errors import InvalidValueError
from tokprune.samples import Sample

_MAY_DIFFER = frozenset({"batch_size", "threads", "date", "command"})
"""What may change between the rows of one run: it moves no answer (batch-mates and padding do not matter)."""
_VALUES_PER_TENSOR = 64


@dataclass(frozen=True)
class Certificate:
    """Where a row comes from. Prints and stores as a flat dict (`to_dict`)."""

    model: str
    revision: str
    """The commit of the hub snapshot, or empty for a model that does not come from the hub."""
    weights: str
    """Digest of the loaded weights, see `weights_digest`."""
    data: str
    questions: str
    """Digest of the questions and their answers, see `questions_digest`."""
    n: int
    seed: int
    template: str
    max_new_tokens: int
    device: str
    dtype: str
    attention: str
    """The attention implementation of the model and, where it differs, of its parts."""
    tokprune: str
    torch: str
    transformers: str
    python: str
    batch_size: int
    threads: int
    date: str
    command: str

    def to_dict(self) -> dict[str, Any]:
        """Field name -> value, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The certificate that `to_dict` wrote.

        Raises:
            InvalidValueError: A field is missing or unknown.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise InvalidValueError(f"certificate: {error}") from error

    def differences(self, other: Certificate) -> list[str]:
        """What makes the two incomparable, one line per field; empty if their rows may stand in one table."""
        pairs = [
            (field.name, getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
            if field.name not in _MAY_DIFFER
        ]
        return [f"{name}: {mine!r} there, {yours!r} now" for name, mine, yours in pairs if mine != yours]


def certify(
    model: nn.Module,
    *,
    name: str,
    data: str,
    samples: Sequence[Sample],
    seed: int,
    template: str,
    max_new_tokens: int,
    batch_size: int,
) -> Certificate:
    """The certificate of rows measured now, in this process, on this model and these samples."""
    parameter = next(model.parameters())
    return Certificate(
        model=name,
        revision=str(getattr(model.config, "_commit_hash", None) or ""),
        weights=weights_digest(model),
        data=data,
        questions=questions_digest(samples),
        n=len(samples),
        seed=seed,
        template=template,
        max_new_tokens=max_new_tokens,
        device=_device_name(parameter.device),
        dtype=str(parameter.dtype).removeprefix("torch."),
        attention=_attention(model),
        tokprune=version("tokprune"),
        torch=torch.__version__,
        transformers=version("transformers"),
        python=platform.python_version(),
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


@torch.no_grad()
def weights_digest(model: nn.Module) -> str:
    """Tells two sets of weights apart by every tensor's name, shape, dtype and 64 of its values.

    Reading 64 of them is quick on any model. A file's name or size would not do: training the same architecture again
    changes neither.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        if tensor.numel() and not tensor.is_meta:
            step = -(-tensor.numel() // _VALUES_PER_TENSOR)
            spread = tensor.detach().flatten()[::step]
            digest.update(spread.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]


def questions_digest(samples: Sequence[Sample]) -> str:
    """Tells two sets of questions apart by their ids, questions and answers, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(repr((sample.id, sample.question, sample.answers)).encode())
    return digest.hexdigest()[:16]


def _attention(model: nn.Module) -> str:
    """`"sdpa"`, or `"sdpa, qformer_config: eager"` where a part has an implementation of its own."""
    config: Any = model.config
    whole = str(getattr(config, "_attn_implementation", None))
    parts = {
        name: str(part._attn_implementation)
        for name in getattr(config, "sub_configs", {})
        if (part := getattr(config, name, None)) is not None
    }
    return ", ".join([whole, *(f"{name}: {own}" for name, own in parts.items() if own != whole)])


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
