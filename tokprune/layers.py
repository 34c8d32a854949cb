"""Which layers of a signal are meant: all, the first, the last, or a list of indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, overload

from tokprune.errors import InvalidValueError, SignalError, brief
from tokprune.votes import Votes

Layers = Literal["all", "first", "last"] | tuple[int, ...]
"""Which layers of a signal: a word, or indices; negative ones count from the end."""


def check_layers(where: str, layers: object) -> Layers:
    """Return `layers` in canonical form (lists become tuples), or raise `InvalidValueError`."""
    if isinstance(layers, str) and layers in ("all", "first", "last"):  # an array would compare element by element
        return layers  # type: ignore[return-value]
    if isinstance(layers, int) and not isinstance(layers, bool):
        layers = (layers,)
    if isinstance(layers, Sequence) and not isinstance(layers, str) and len(layers) > 0:
        chosen = tuple(layers)
        if all(isinstance(i, int) and not isinstance(i, bool) for i in chosen) and len(set(chosen)) == len(chosen):
            return chosen
    raise InvalidValueError(
        f"{where}: layers must be 'all', 'first', 'last' or a list of different layer indices, got {brief(layers)}"
    )


def layer_indices(layers: Layers, count: int) -> tuple[int, ...]:
    """The indices that `layers` means where there are `count` layers; negative ones count from the end.

    Example:
        >>> layer_indices("last", 6), layer_indices((0, -1), 6)
        ((5,), (0, 5))
    """
    if layers == "all":
        return tuple(range(count))
    chosen: tuple[int, ...] = (0,) if layers == "first" else (count - 1,) if layers == "last" else tuple(layers)
    indices = tuple(i + count if i < 0 else i for i in chosen)
    wrong = [i for i in indices if not 0 <= i < count]
    if wrong or not count or len(set(indices)) != len(indices):
        raise InvalidValueError(f"layers={list(layers)}: there are {count} layers, so indices go from 0 to {count - 1}")
    return tuple(sorted(indices))


class LayerVotes(Sequence[Votes]):
    """The votes of a model's layers in order; layers that nobody asked for were not captured and raise when read.

    Args:
        captured: layer index -> votes.
        count: how many layers the model has.
        name: name of the signal, for messages.
    """

    def __init__(self, captured: Mapping[int, Votes], count: int, name: str = "votes") -> None:
        self._captured, self._count, self._name = dict(captured), count, name

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Votes: ...
    @overload
    def __getitem__(self, index: slice) -> list[Votes]: ...
    def __getitem__(self, index: int | slice) -> Votes | list[Votes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        position = index + self._count if index < 0 else index
        if not 0 <= position < self._count:
            raise IndexError(f"{self._name} has {self._count} layers, there is no layer {index}")
        if position not in self._captured:
            raise SignalError(
                f"layer {position} of {self._name!r} was not captured: the scorer declares in `layers_read` that it "
                f"does not read it. Captured: {sorted(self._captured)}"
            )
        return self._captured[position]

    def __repr__(self) -> str:
        return f"LayerVotes({self._name!r}, captured {sorted(self._captured)} of {self._count} layers)"


def pick_layers(votes: Sequence[Votes], layers: Layers) -> Iterator[Votes]:
    """Yield the votes of the chosen layers, one at a time."""
    for index in layer_indices(layers, len(votes)):
        yield votes[index]
