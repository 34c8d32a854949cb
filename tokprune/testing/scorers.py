"""`check_scorer`: the laws of scorers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from tokprune.errors import SignalError
from tokprune.interfaces import Scorer
from tokprune.layers import Layers
from tokprune.registry import default_registry
from tokprune.signal import SIGNAL_NAMES
from tokprune.testing import components
from tokprune.testing.elsewhere import Move, try_elsewhere
from tokprune.testing.failures import Violation, close, same, shown
from tokprune.testing.laws import Law, check_all
from tokprune.testing.observations import Observation, Target, large_observation, observations
from tokprune.votes import Votes


@dataclass(frozen=True)
class Setting:
    """What a scorer is tried on."""

    layers: int
    targets: tuple[Target, ...]
    by_position: bool

    def observations(self) -> list[Observation]:
        """The observations, for each target the smallest first."""
        return [observed for target in self.targets for observed in observations(self.layers, target)]

    def large(self) -> list[Observation]:
        """Observations of numbers that half precision cannot add up."""
        return [large_observation(self.layers, target) for target in self.targets]


def check_scorer(
    scorer: Scorer, *, layers: int = 4, target: Target | None = None, by_position: bool | None = None
) -> None:
    """Check that a scorer keeps the contract: everything that pruning a real model relies on.

    Args:
        scorer: the object, with its options.
        layers: how many layers the made-up models have; more than the highest layer index that `scorer` reads.
        target: the target that it is meant for, "query" or "image"; None tries its own `targets`, and both if it
            names none.
        by_position: True for a scorer that looks at where a token stands (first, stride), so that other tokens in
            the same places get other votes; it is then not asked to follow the tokens when they change places. None:
            what its attribute `by_position` says, and False without one.

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.

    Example:
        >>> from tokprune.scorers import L2Norm
        >>> check_scorer(L2Norm())
    """
    check_all(laws(scorer, layers=layers, target=target, by_position=by_position))


def laws(
    scorer: Scorer, *, layers: int = 4, target: Target | None = None, by_position: bool | None = None
) -> list[Law]:
    """The laws of scorers, for this one."""
    own = targets_of(scorer)
    placed = bool(getattr(scorer, "by_position", False)) if by_position is None else by_position
    setting = Setting(layers, own if target is None else (target,), placed)
    return [Law("scorer", scorer, law, (setting,)) for law in LAWS]


def targets_of(scorer: Scorer) -> tuple[Target, ...]:
    """The targets of made-up observations that a scorer is meant for: of query tokens image tokens are the voters."""
    voters = getattr(scorer, "voted_by", {}).get("cross_attention")
    known: tuple[Target, ...] = get_args(Target)
    if voters is not None:
        known = ("query",) if voters == "image" else ("image",)
    targets = getattr(scorer, "targets", known)
    return tuple(each for each in known if each in targets) or ("image",)  # frames of sound are like image tokens


def given_by(
    scorer: Scorer, observed: Observation, layers_read: Mapping[str, Layers] | None = None
) -> list[Votes] | Tensor:
    """The votes or scores that a scorer gives when it is offered what it declares alone (or these layers)."""
    if layers_read is None:
        layers_read = getattr(scorer, "layers_read", None)
    with torch.no_grad():
        given = scorer(observed.signal(tuple(scorer.needs), layers_read))
        return given if isinstance(given, Tensor) else list(given)


def numbers_of(scorer: Scorer, observed: Observation) -> list[Tensor]:
    """The numbers in what a scorer gives."""
    given = given_by(scorer, observed)
    return [given] if isinstance(given, Tensor) else [votes.values for votes in given]


def scores_of(scorer: Scorer, observed: Observation, layers_read: Mapping[str, Layers] | None = None) -> Tensor:
    """Scores, by the scorer's own aggregator where it gives votes; that is "sum" unless it says otherwise."""
    given = given_by(scorer, observed, layers_read)
    if isinstance(given, Tensor):
        return given
    scores: Tensor = default_registry().create("aggregator", getattr(scorer, "aggregator", "sum"))(given)
    return scores


def declares_needs(scorer: Any, setting: Setting) -> None:
    """A scorer declares the signals that it reads; an aggregator, if it declares one, is registered or an object."""
    needs = getattr(scorer, "needs", None)
    if not isinstance(needs, tuple) or not needs or not set(needs) <= set(SIGNAL_NAMES):
        raise Violation(f"needs is {needs!r}; write a tuple of names out of {', '.join(SIGNAL_NAMES)}.")
    if getattr(scorer, "aggregator", "sum") is not None:
        default_registry().create("aggregator", getattr(scorer, "aggregator", "sum"))


def reads_what_it_declares(scorer: Any, setting: Setting) -> None:
    """A scorer reads only signals in its `needs`, and only layers in its `layers_read`."""
    for observed in setting.observations():
        try:
            given_by(scorer, observed)
        except SignalError as error:
            raise Violation(f"On {observed}: {error}") from error


def keeps_to_its_layers(scorer: Any, setting: Setting) -> None:
    """A scorer reads the layers in its `layers_read` also where others were captured for another component."""
    for observed in setting.observations():
        scores, more = scores_of(scorer, observed), scores_of(scorer, observed, layers_read={})
        if not same(more, scores):
            raise Violation(
                f"On {observed} the scores are {shown(scores)}, and {shown(more)} where all layers were captured; "
                "choose with tokprune.layers.pick_layers."
            )


def reads_all_it_declares(scorer: Any, setting: Setting) -> None:
    """A scorer reads every signal in its `needs`: what nobody reads is captured for nothing."""
    read: set[str] = set()
    for observed in setting.observations():
        signal = observed.signal(tuple(scorer.needs), getattr(scorer, "layers_read", None))
        given = scorer(signal)
        for _ in () if isinstance(given, Tensor) else given:
            pass
        read |= signal.read
    unread = sorted(set(scorer.needs) - read)
    if unread:
        raise Violation(f"Its `needs` name {', '.join(map(repr, unread))}, which it never reads; take that out.")


def votes_have_the_right_shape(scorer: Any, setting: Setting) -> None:
    """A scorer gives `Votes`, at least one, each with a vote for every target token of every image; or their scores."""
    for observed in setting.observations():
        votes = given_by(scorer, observed)
        batch, tokens = observed.tokens.shape[:2]
        if isinstance(votes, Tensor):
            if tuple(votes.shape) != (batch, tokens):
                raise Violation(
                    f"On {observed} its scores have shape {tuple(votes.shape)}; expected [batch token] = "
                    f"[{batch} {tokens}]."
                )
            continue
        if getattr(scorer, "aggregator", "sum") is None:
            raise Violation(f"On {observed} it gave votes, and it declares aggregator = None: that is for scores.")
        if not votes:
            raise Violation(f"On {observed} it gave no votes at all.")
        for layer in votes:
            if not isinstance(layer, Votes):
                raise Violation(f"On {observed} it gave a {type(layer).__name__}; wrap it: tokprune.Votes(values).")
            found = tuple(layer.values.shape)
            if len(found) != 3 or (found[0], found[2]) != (batch, tokens):
                raise Violation(
                    f"On {observed} its votes have shape {found}; expected [batch voter token] = [{batch} * {tokens}]."
                )


def votes_are_finite(scorer: Any, setting: Setting) -> None:
    """Votes and scores are floating-point numbers, never NaN or infinite, in float32, bfloat16 and float16."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for observed in (*setting.observations(), *setting.large()):
            cast = observed.to(dtype)
            for values in numbers_of(scorer, cast):
                if not torch.is_floating_point(values) or not bool(values.isfinite().all()):
                    raise Violation(f"On {cast} it votes {shown(values)}.")


def same_votes_twice(scorer: Any, setting: Setting) -> None:
    """A scorer keeps no state: the same signal gives the same votes, whatever came between."""
    cases = setting.observations()
    for observed, other in zip(cases, reversed(cases), strict=True):
        before = scores_of(scorer, observed)
        between = dict(vars(scorer))
        again = scores_of(scorer, observed)
        scores_of(scorer, observed.permuted(torch.arange(observed.tokens.shape[1]).flip(0)))
        scores_of(scorer, other)
        after = scores_of(scorer, observed)
        if not (same(before, again) and same(before, after)):
            raise Violation(
                f"On {observed} the scores are {shown(before)}, the second time {shown(again)} and, after other calls, "
                f"{shown(after)}."
            )
        if vars(scorer) != between:
            raise Violation(f"Its attributes change from {between!r} to {vars(scorer)!r}.")


def leaves_the_signal_alone(scorer: Any, setting: Setting) -> None:
    """A scorer does not write into the tensors that it is given."""
    for observed in setting.observations():
        given = observed.clone()
        given_by(scorer, given)
        if not given.same_as(observed):
            raise Violation(f"On {observed} the signal has other numbers afterwards; use `x = x - y`, not `x -= y`.")


def leaves_chance_alone(scorer: Any, setting: Setting) -> None:
    """A scorer does not draw from torch's global random numbers, so it cannot change what a model samples."""
    for observed in setting.observations():
        before = torch.get_rng_state()
        given_by(scorer, observed)
        if not torch.equal(before, torch.get_rng_state()):
            raise Violation("Use a torch.Generator with a seed that is an option.")


def images_do_not_matter_to_each_other(scorer: Any, setting: Setting) -> None:
    """The scores of an image do not depend on the other images of the batch."""
    for observed in setting.observations():
        together = scores_of(scorer, observed)
        for row in range(observed.tokens.shape[0]):
            alone = scores_of(scorer, observed.images(row))
            # Up to rounding: matrix products of other sizes may add in another order.
            if not close(together[row : row + 1], alone, 1e-6):
                raise Violation(
                    f"On {observed}, image {row} scores {shown(together[row])} among the others "
                    f"and {shown(alone[0])} alone."
                )


def follows_the_tokens(scorer: Any, setting: Setting) -> None:
    """When target tokens change places, their scores go with them; equal tokens score the same."""
    if setting.by_position:
        return
    for observed in setting.observations():
        order = torch.arange(observed.tokens.shape[1]).flip(0)
        scores = scores_of(scorer, observed)
        moved = scores_of(scorer, observed.permuted(order))
        if not close(moved, scores[:, order], 1e-5):
            raise Violation(
                f"On {observed} the scores are {shown(scores)}; with the tokens in the order {order.tolist()} they "
                f"are {shown(moved)}, expected {shown(scores[:, order])}. (A scorer that is meant to look at places "
                "is checked with by_position=True.)"
            )


def counts_in_float32(scorer: Any, setting: Setting) -> None:
    """A half-precision signal is scored like its float32 copy: nothing is computed in half precision."""
    for dtype in (torch.bfloat16, torch.float16):
        for observed in (*setting.observations(), *setting.large()):
            half = observed.to(dtype)
            found, expected = scores_of(scorer, half), scores_of(scorer, half.to(torch.float32))
            if not close(found, expected, 1e-4):
                raise Violation(
                    f"On {half} the scores are {shown(found)}, on the same numbers in float32 {shown(expected)}; "
                    "begin with `.float()`."
                )


def stays_on_the_device(scorer: Any, setting: Setting) -> None:
    """A scorer makes its votes on the device that the signal is on."""
    for observed in setting.observations()[-1:]:

        def values(move: Move, observed: Observation = observed) -> list[Tensor]:
            return numbers_of(scorer, observed.changed(move))

        try_elsewhere(values)


LAWS = (
    *components.LAWS,
    declares_needs,
    reads_what_it_declares,
    votes_have_the_right_shape,
    votes_are_finite,
    leaves_the_signal_alone,
    same_votes_twice,
    leaves_chance_alone,
    images_do_not_matter_to_each_other,
    follows_the_tokens,
    counts_in_float32,
    reads_all_it_declares,
    keeps_to_its_layers,
    stays_on_the_device,
)
"""The laws of scorers, in the order they are checked."""
