"""Signal: what an adapter observed in one forward pass and offers to scorers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError, SignalError
from tokprune.shapes import check_dims
from tokprune.votes import Votes

ENCODER_VECTORS = ("encoder_features", "encoder_keys", "encoder_values")
"""The signals that come as one vector per target token, from the last layer of the image encoder that is used."""

VECTOR_NAMES = ("tokens", *ENCODER_VECTORS, "reader_keys", "reader_values", "hidden_states")
"""The signals that come as one vector per target token."""

SIGNAL_NAMES = ("tokens", "cross_attention", "self_attention", "encoder_attention", "text", "grid", *VECTOR_NAMES[1:])
"""Every signal there is, by the name used in a scorer's `needs` and as an attribute of `Signal`."""

ATTENTION_NAMES = ("cross_attention", "self_attention", "encoder_attention")
"""The signals that come as one `Votes` per layer."""


class SignalName(str):
    """The name of a signal as an adapter offers it, with what is known of the votes in it. Equal to the plain name.

    Args:
        name: one of `SIGNAL_NAMES`.
        voters: which tokens vote: "image" (those of the image encoder) or "text"; None if that is not said.
        pooled: whether each target token is made of several that got votes of their own, so that there are sums of
            votes and no queries and keys of the target tokens.
        apart: the signals that are observed elsewhere, so that a policy cannot have them together with this one.

    Example:
        >>> SignalName("cross_attention", voters="text") == "cross_attention"
        True
    """

    voters: Literal["image", "text"] | None
    pooled: bool
    apart: tuple[str, ...]

    def __new__(
        cls,
        name: str,
        voters: Literal["image", "text"] | None = None,
        pooled: bool = False,
        apart: Sequence[str] = (),
    ) -> SignalName:
        """Make it."""
        made = super().__new__(cls, name)
        made.voters, made.pooled, made.apart = voters, pooled, tuple(apart)
        return made


@dataclass(frozen=True, eq=False)
class Text:
    """The prompt that goes with each image.

    Attributes:
        embeddings: `[batch text dim]`.
        mask: bool `[batch text]`, True for real text tokens (no padding, no image placeholders).
        question: bool `[batch text]`, True for what is asked: the real text tokens after the row's last image; all real
            text tokens where none come after it, or where it is not known. In a conversation with several turns that is
            all that was said since the last image, with the words of the chat template, for no tokenizer is asked.
    """

    embeddings: Tensor
    mask: Tensor
    question: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if getattr(self, "question", None) is None:
            object.__setattr__(self, "question", self.mask)


def question_of(mask: Tensor, images: Tensor) -> Tensor:
    """The real text tokens after a row's last image, bool `[row text]`; all of them where none come after it.

    Args:
        mask: bool `[row text]`, the real text tokens.
        images: bool `[row text]`, the placeholders of images and videos.

    Example:
        >>> mask = torch.tensor([[True, False, True, True], [True, True, False, False]])
        >>> question_of(mask, torch.tensor([[False, True, False, False], [False, False, True, True]])).tolist()
        [[False, False, True, True], [True, True, False, False]]
    """
    after = mask & (images.flip(1).cumsum(1).flip(1) == 0)
    return torch.where(after.any(dim=1, keepdim=True), after, mask)


class Signal:
    """What was observed about the target tokens of one forward pass. `batch` counts images.

    Args:
        tokens: the target tokens' vectors `[batch token dim]`.
        cross_attention: one `Votes` per layer: the other side's tokens vote for the target tokens.
        self_attention: one `Votes` per layer: the target tokens vote for each other.
        encoder_attention: one `Votes` per layer: the image encoder's tokens vote for each other.
        text: the prompts.
        grid: rows and columns of the image tokens.
        encoder_features: what the last layer of the image encoder that is used gives `[batch token dim]`; the mean,
            where a target token is made of several of the encoder's.
        encoder_keys: that layer's keys as they attend, after norms and rotation, all heads joined; pooled alike.
        encoder_values: that layer's values, all heads joined; pooled alike.
        reader_keys: the keys that the reader's first layer makes of the target tokens `[batch token dim]`, without
            positions.
        reader_values: the values that it makes of them.
        hidden_states: the target tokens at a pruning point inside their reader `[batch token dim]`.
        shape: number of images and of target tokens of each; None takes it from the signals.
        source: who observed it, for messages.

    Reading a signal that was not observed raises `SignalError`, which names those that were.

    Example:
        >>> import torch
        >>> signal = Signal(tokens=torch.zeros(2, 32, 8))
        >>> signal.offered, signal.batch, signal.token_count
        (('tokens',), 2, 32)
    """

    tokens: Tensor
    cross_attention: Sequence[Votes]
    self_attention: Sequence[Votes]
    encoder_attention: Sequence[Votes]
    text: Text
    grid: tuple[int, int]
    encoder_features: Tensor
    encoder_keys: Tensor
    encoder_values: Tensor
    reader_keys: Tensor
    reader_values: Tensor
    hidden_states: Tensor

    def __init__(
        self,
        *,
        tokens: Tensor | None = None,
        cross_attention: Sequence[Votes] | None = None,
        self_attention: Sequence[Votes] | None = None,
        encoder_attention: Sequence[Votes] | None = None,
        text: Text | None = None,
        grid: tuple[int, int] | None = None,
        encoder_features: Tensor | None = None,
        encoder_keys: Tensor | None = None,
        encoder_values: Tensor | None = None,
        reader_keys: Tensor | None = None,
        reader_values: Tensor | None = None,
        hidden_states: Tensor | None = None,
        shape: tuple[int, int] | None = None,
        source: str = "this signal",
    ) -> None:
        given: dict[str, Any] = {
            "tokens": tokens,
            "cross_attention": cross_attention,
            "self_attention": self_attention,
            "encoder_attention": encoder_attention,
            "text": text,
            "grid": grid,
            "encoder_features": encoder_features,
            "encoder_keys": encoder_keys,
            "encoder_values": encoder_values,
            "reader_keys": reader_keys,
            "reader_values": reader_values,
            "hidden_states": hidden_states,
        }
        for name in VECTOR_NAMES:
            if given[name] is not None:
                check_dims("Signal", name, given[name], "batch token dim")
        for name in ATTENTION_NAMES:
            if given[name] is not None and not isinstance(given[name], Sequence):
                raise InvalidValueError(f"Signal: {name} must be a sequence with one Votes per layer")
        self.__dict__.update({name: value for name, value in given.items() if value is not None})
        self.__dict__.update(source=source, _shape=shape)

    @property
    def offered(self) -> tuple[str, ...]:
        """Names of the signals that were observed."""
        return tuple(name for name in SIGNAL_NAMES if name in self.__dict__)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images and number of target tokens of each."""
        given: tuple[int, int] | None = self.__dict__["_shape"]
        if given is not None:
            return given
        if "tokens" in self.__dict__:
            return self.tokens.shape[0], self.tokens.shape[1]
        for name in ("cross_attention", "self_attention"):
            if self.__dict__.get(name):
                batch, _, tokens = self.__dict__[name][0].shape
                return batch, tokens
        raise AttributeError("shape")  # becomes the message below

    @property
    def batch(self) -> int:
        """Number of images."""
        return self.shape[0]

    @property
    def token_count(self) -> int:
        """Number of target tokens of each image."""
        return self.shape[1]

    def pick(self, names: Iterable[str]) -> dict[str, Any]:
        """These signals by name, as keyword arguments for a component that `wants` them.

        Raises:
            SignalError: one of them was not observed.

        Example:
            >>> import torch
            >>> list(Signal(tokens=torch.zeros(2, 32, 8)).pick(("tokens",)))
            ['tokens']
        """
        return {name: getattr(self, name) for name in names}

    def __getattr__(self, name: str) -> Any:
        # Only called when the attribute is missing, or when a property raised AttributeError.
        if name in ("shape", "batch", "token_count"):
            raise SignalError(
                f"{self.source} says nothing about the target tokens; it offers: {', '.join(self.offered)}"
            )
        if name in SIGNAL_NAMES:
            offered = ", ".join(repr(n) for n in self.offered) or "nothing"
            raise SignalError(
                f"signal {name!r} was not observed; {self.__dict__.get('source', 'this signal')} offers {offered}. "
                f"A scorer must list what it reads in `needs`."
            )
        raise AttributeError(name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Signal is read-only; cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Signal is read-only; cannot delete {name!r}")

    def __repr__(self) -> str:
        return f"Signal(offered={self.offered})"
