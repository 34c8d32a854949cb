"""Checks of tensor shapes, so that bad input fails at the door with a message that says what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokprune.errors import InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor


def check_dims(where: str, name: str, tensor: Tensor, dims: str) -> None:
    """Raise `InvalidValueError` unless `tensor` has as many dimensions as `dims` names ("batch voter token")."""
    # Duck-typed on purpose: importing torch here would make the cheapest layer the slowest to import.
    shape = getattr(tensor, "shape", None)
    if shape is None:
        raise InvalidValueError(f"{where}: {name} must be a tensor [{dims}], got {type(tensor).__name__}")
    if len(shape) != len(dims.split()):
        raise InvalidValueError(f"{where}: {name} must have shape [{dims}], got {tuple(shape)}")


def check_same(where: str, what: str, expected: tuple[int, ...], got: tuple[int, ...]) -> None:
    """Raise `InvalidValueError` unless the two shapes are equal."""
    if tuple(expected) != tuple(got):
        raise InvalidValueError(f"{where}: {what} must have shape {tuple(expected)}, got {tuple(got)}")


def check_attention(where: str, query: Tensor, key: Tensor) -> None:
    """Raise `InvalidValueError` unless the two are queries and keys of one attention layer; a batch may be 1."""
    check_dims(where, "query", query, "batch head query dim")
    check_dims(where, "key", key, "batch head key dim")
    # While torch.jit.trace records, sizes are tensors: equal ones compare as equal, but a set would hold both.
    batches = query.shape[0], key.shape[0]
    if query.shape[3] != key.shape[3] or (batches[0] != batches[1] and 1 not in batches):
        raise InvalidValueError(
            f"{where}: query and key must have the same dim, and the same batch or a batch of 1; got "
            f"{tuple(query.shape)} and {tuple(key.shape)}"
        )
