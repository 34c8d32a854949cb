"""Birth certificate: everything a number depends on besides the policy, kept beside the number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import nn

from tokprune.bench.surroundings import surroundings
from tokprune.errors import InvalidValueError
from tokprune.samples import Sample

_VALUES_PER_TENSOR = 64


@dataclass(frozen=True)
class BirthCertificate:
    """Where a row comes from. Prints and stores as a flat dict (`to_dict`). Each kind of measurement has its own."""

    MAY_DIFFER: ClassVar[frozenset[str]] = frozenset({"date", "command"})
    """What may change between the rows of one run."""

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

    def differences(self, other: Self) -> list[str]:
        """What makes the two incomparable, one line per field; empty if their rows may stand in one table."""
        pairs = [
            (field.name, getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
            if field.name not in self.MAY_DIFFER
        ]
        return [f"{name}: {mine!r} there, {yours!r} now" for name, mine, yours in pairs if mine != yours]


@dataclass(frozen=True)
class Certificate(BirthCertificate):
    """Where a row of accuracy comes from."""

    MAY_DIFFER: ClassVar[frozenset[str]] = frozenset({"batch_size", "threads", "date", "command"})
    """What moves no answer: batch-mates and padding do not matter."""

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
    return Certificate(
        model=name,
        weights=weights_digest(model),
        data=data,
        questions=questions_digest(samples),
        n=len(samples),
        seed=seed,
        template=template,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        **surroundings(model),
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
