"""The five contracts on one screen: Scorer, Aggregator, Selector, Reduction, Adapter.

signal --scorer--> votes --aggregator--> scores --selector--> kept --reduction--> shorter sequence
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tokprune.after import After
from tokprune.keep import Keep
from tokprune.layers import Layers
from tokprune.signal import Signal
from tokprune.votes import Votes

Positions = Literal["compact", "preserve"]

AttentionKind = Literal["proportional", "plain"]
"""How a merged token counts in attention: as many times as it stands for tokens, or once."""

Inside = Literal["encoder"]


@runtime_checkable
class Scorer(Protocol):
    """Signal -> votes, or scores. A frozen dataclass whose fields are its options; it keeps no state between calls.

    Optional attributes: `aggregator`, its default voting rule (a name or an object; "sum" without it; None for a scorer
    that gives scores, which need no rule); `layers_read`
    (signal name -> "all" | "first" | "last" | indices) for a scorer that does not read every layer of a signal; the
    other layers are then not captured; `targets`, the targets it can score, if not all that offer what it needs;
    `voted_by` (signal name -> "image" or "text"), which tokens have to vote there; `keys_read`, the signals of which
    it reads queries and keys too, and not only votes; and `by_position`, True if it looks at where a token stands, so
    that scores do not go with tokens that change places.
    """

    needs: ClassVar[tuple[str, ...]]
    """The signals it reads; nothing else is captured."""

    def __call__(self, signal: Signal) -> Iterable[Votes] | Tensor:
        """One `Votes` per layer, so that maps never pile up; or scores `[batch token]`, higher means keep."""
        ...


@runtime_checkable
class Aggregator(Protocol):
    """Votes -> scores `[batch token]`: a voting rule. It consumes one layer at a time."""

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Scores `[batch token]`, float32 or better."""
        ...


@dataclass(frozen=True, eq=False)
class Groups:
    """A partition of the tokens: each group has one kept token, and a token may be in no group.

    Attributes:
        kept: bool `[batch token]`, True for the kept token of each group.
        assignment: int `[batch token]`, the number (0 .. k-1, in the order of the kept tokens) of the group that each
            token belongs to; -1 for a token that is in none, and so is dropped.

    Example:
        >>> Groups(torch.tensor([[True, False, True]]), torch.tensor([[0, 1, 1]]))  # the second goes with the third
        Groups(kept=tensor([[ True, False,  True]]), assignment=tensor([[0, 1, 1]]))
    """

    kept: Tensor
    assignment: Tensor


@runtime_checkable
class Selector(Protocol):
    """Scores and keep -> kept, a bool mask `[batch token]`, or `Groups`.

    Optional attributes: `makes_groups` (True where it gives `Groups`); `uniform` (True promises exactly
    `keep_count(keep, token)` tokens in every row; False without it); `wants`, what else it needs as keyword arguments:
    "votes" (a list with one `Votes` per layer) or names of signals; and `layers_read`, `targets`, `voted_by`,
    `keys_read` and `by_position`, as a scorer's.
    """

    def __call__(self, scores: Tensor, keep: Keep) -> Tensor | Groups:
        """Kept tokens, bool `[batch token]`, or groups of tokens with one kept token each."""
        ...


@runtime_checkable
class Reduction(Protocol):
    """What happens to the tokens that were not kept.

    Optional attributes: `wants`, names of the signals (other than `tokens`) that it needs as keyword arguments;
    `layers_read`, `targets`, `voted_by` and `keys_read`, as a scorer's; `conserves`, False if it changes tokens and yet
    loses what is dropped; and `follows_groups`, True if it takes the selector's groups as the keyword argument
    `assignment` (int `[batch token]`, see `Groups`; it is given only where groups were made).
    """

    removes: ClassVar[bool]
    """True: dropped tokens leave the sequence. False: they stay and are hidden from attention (a dry run)."""
    reads_tokens: ClassVar[bool]
    """True if it changes the kept tokens, so that it has to be called."""

    def __call__(self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens `[batch token dim]` and sizes `[batch token]` afterwards, both at full length."""
        ...


@dataclass(frozen=True, eq=False)
class Choice:
    """Which tokens stay, and why.

    Attributes:
        kept: bool `[image token]`, True for tokens that stay.
        assignment: int `[image token]`, the number (0 .. k-1, in order) of the kept token whose group each token
            belongs to, -1 for a token that is dropped; None where no groups were made.
        scores: float `[image token]`, the scores that decided.
        backend: which implementation counted the votes: "reference" (torch) or "triton"; "reference, triton" for both.
    """

    kept: Tensor
    assignment: Tensor | None
    scores: Tensor
    backend: str = "reference"

    @classmethod
    def all_of(cls, signal: Signal, device: torch.device | None = None) -> Choice:
        """Every token stays."""
        kept = torch.ones(signal.shape, dtype=torch.bool, device=device)
        return cls(kept, None, torch.zeros(signal.shape, device=device))


class Choose(Protocol):
    """Signal -> choice."""

    def __call__(self, signal: Signal, keep: Keep | None = None) -> Choice:
        """Choose once. `keep` is given where tokens leave in several steps: what stays at this one."""
        ...


@dataclass(frozen=True)
class Cut:
    """What an adapter is asked to do: everything it needs to know of a policy, and nothing of how votes are made."""

    target: str
    needs: Mapping[str, Layers]
    """Signal name -> layers to capture ("all" for signals without layers)."""
    choose: Choose
    reduction: Reduction
    positions: Positions
    keep: Keep | None = None
    """What stays of every image, known beforehand, so that no shape has to be read back from the device; None if
    `choose` may keep different numbers."""
    after: After | None = None
    """After which layers tokens leave; None for the adapter's default."""
    attention: AttentionKind = "plain"
    inside: Inside | None = None
    """"encoder": `after` counts the layers of the image (or sound) encoder, whatever the target's own place is."""
    settled: bool = False
    """`choose` keeps the same tokens whenever it is asked, so that a generation may ask at every step."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What one pruned call did to the sequence: told by the adapter, after the cut.

    Attributes:
        kept: which target tokens stayed, bool `[batch token]`.
        length_before: length of the sequence that would have gone on (into the language model, or through the rest of
            the encoder).
        length_after: length of the one that did.
        sizes: how many original tokens each target token stands for `[batch token]` (0 for dropped), or None.
        choices: what `Cut.choose` returned, step by step; the later ones are about the tokens that the earlier ones
            kept. Empty where there are `groups`.
        groups: where images have different numbers of tokens, so that `Cut.choose` was asked once for each number:
            which images (int `[image]`), and what it returned for them. `kept` then has a column for each token of the
            largest image, False where an image has none.
        copies: how many rows of the batch, one behind the other, are copies of one prompt (beams, several answers);
            only the first of them is reported.
        images: how many images each row has; it matters where there are copies.
    """

    kept: Tensor
    length_before: int
    length_after: int
    sizes: Tensor | None = None
    choices: tuple[Choice, ...] = ()
    groups: tuple[tuple[Tensor, Choice], ...] = ()
    copies: int = 1
    images: int = 1

    def once(self, values: Tensor) -> Tensor:
        """Of what is said of each image of the batch `[image token]`, what is said of the first copy of each prompt."""
        if self.copies == 1:
            return values
        return values.view(-1, self.copies, self.images, values.shape[-1])[:, 0].flatten(0, 1)


class Attachment(Protocol):
    """A cut that sits on a model. `remove` leaves exactly the model there was; calling it twice does no harm."""

    @property
    def reader(self) -> nn.Module:
        """The module that reads the shortened sequence: `handle.check` looks at what enters it.

        Where another one does in another kind of call, an `nn.ModuleList` of all of them.
        """
        ...

    def remove(self) -> None:
        """Take the cut off the model."""
        ...


class Bound(Protocol):
    """An adapter on one model: everything that `apply` asks of it, found once."""

    adapter: Adapter
    model: nn.Module

    @property
    def offers(self) -> Mapping[str, tuple[str, ...]]:
        """Target -> the signals it offers; the default target first.

        A name may be a `tokprune.signal.SignalName`, which also says which tokens vote.
        """
        ...

    def offers_after(self, target: str, after: After | None, inside: Inside | None = None) -> tuple[str, ...]:
        """The signals of a target at a pruning point; `AdapterError` where there is none."""
        ...

    def weighs(self, target: str, after: After | None, inside: Inside | None = None) -> bool | str:
        """True where merged tokens can be weighed at a pruning point (`Cut.attention`), or the reason why not."""
        ...

    def attach(self, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Check everything, then change the model; on failure nothing is left behind."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """Knows one model family: where to observe, where to cut, how to undo. It never imports a scorer or a policy.

    Optional: `why_not(model)`, in words why it does not match, for the message of the error; `default_scorers`, target
    -> name of the scorer that a policy without one means ("focus", "catp-vote:layers=first"; without it the first of
    `tokprune.defaults.FALLBACKS` that fits); `offers_after(model, target, after)`, the signals of a target where tokens
    leave behind the layers that `after` names, if they are not those of `offers`; with a parameter `inside`, also those
    inside an encoder; `weighs(model, target, after)`, True where merged tokens can be weighed, or the reason why not;
    and `bind(model)`, a `Bound` of its own in place of these methods, which are else asked once for each `apply`.
    """

    def matches(self, model: nn.Module) -> bool:
        """Whether this adapter understands `model`; must not import the model's library to find out."""
        ...

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """The targets it can cut on this model and, for each, the signals it offers; the default target first.

        A name may be a `tokprune.signal.SignalName`, which also says which tokens vote.
        """
        ...

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Check everything, then change the model; on failure nothing is left behind."""
        ...
