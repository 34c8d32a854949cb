"""`check_reduction`: the laws of reductions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokprune.functional import group_sizes
from tokprune.interfaces import Reduction
from tokprune.signal import SIGNAL_NAMES
from tokprune.testing import components
from tokprune.testing.elsewhere import Move, try_elsewhere
from tokprune.testing.failures import Violation, close, same, shown
from tokprune.testing.laws import Law, check_all
from tokprune.testing.observations import Observation, observation

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Case:
    """Tokens `[batch token dim]`, the kept ones, how many original tokens each stands for, and what was observed."""

    tokens: Tensor
    kept: Tensor
    sizes: Tensor | None
    observed: Observation

    def changed(self, change: Callable[[Tensor], Tensor]) -> Case:
        """The same case with `change` done to every tensor."""
        sizes = None if self.sizes is None else change(self.sizes)
        return Case(change(self.tokens), change(self.kept), sizes, self.observed.changed(change))

    def image(self, row: int) -> Case:
        """Only one image of the batch."""
        return self.changed(lambda tensor: tensor[row : row + 1])

    def to(self, dtype: torch.dtype) -> Case:
        """The same tokens and signals in another floating type; sizes stay what they are."""
        return replace(self, tokens=self.tokens.to(dtype), observed=self.observed.to(dtype))

    @property
    def all_sizes(self) -> Tensor:
        """Sizes `[batch token]`, one each where none were given."""
        return torch.ones(self.kept.shape) if self.sizes is None else self.sizes

    def __str__(self) -> str:
        sizes = "" if self.sizes is None else f", sizes {shown(self.sizes)}"
        return f"tokens {shown(self.tokens)}, kept {shown(self.kept)}{sizes}"


def check_reduction(reduction: Reduction, *, conserves: bool | None = None) -> None:
    """Check that a reduction keeps shapes, types and images apart, and tells the truth about sizes.

    Args:
        reduction: the object, with its options.
        conserves: whether dropped tokens live on in kept ones, so that sizes and the size-weighted sum of the tokens
            must be the same before and after. None: what its attribute `conserves` says; without one, yes if it
            changes tokens (`reads_tokens`).

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.

    Example:
        >>> from tokprune.reductions import Merge
        >>> check_reduction(Merge())
    """
    check_all(laws(reduction, conserves=conserves))


def laws(reduction: Reduction, *, conserves: bool | None = None) -> list[Law]:
    """The laws of reductions, for this one."""
    own = getattr(reduction, "conserves", None) if conserves is None else conserves
    return [Law("reduction", reduction, law, (own,)) for law in LAWS]


def cases() -> Iterator[Case]:
    """Tokens and choices to try a reduction on, the smallest first; always the same ones."""
    yield _case(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[True]]))
    yield _case(torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]), torch.tensor([[True, False]]))
    yield _case(torch.tensor([[[0.0, 0.0], [3.0, 1.0]]]), torch.tensor([[False, True]]), torch.tensor([[1.0, 2.0]]))
    for batch, tokens, carried in ((2, 4, False), (3, 9, True), (2, 32, False)):
        generator = torch.Generator().manual_seed(tokens)
        kept = torch.rand(batch, tokens, generator=generator) < 0.4
        kept[:, 1] = True
        sizes = torch.randint(1, 4, kept.shape, generator=generator).float() if carried else None
        yield _case(torch.randn(batch, tokens, 8, generator=generator), kept, sizes, protected=int(tokens > 4))


def _case(tokens: Tensor, kept: Tensor, sizes: Tensor | None = None, protected: int = 0) -> Case:
    return Case(tokens, kept, sizes, observation(kept.shape[0], kept.shape[1], 5, target="image", protected=protected))


def reduced(reduction: Reduction, case: Case, **groups: Tensor) -> tuple[Tensor, Tensor]:
    """What a reduction makes of a case; it gets the signals that it declares in `wants`."""
    wants: tuple[str, ...] = getattr(reduction, "wants", ())
    signal = case.observed.signal(wants, getattr(reduction, "layers_read", None))
    with torch.no_grad():
        return reduction(case.tokens, case.kept, case.sizes, **groups, **signal.pick(wants))


def declares_what_it_does(reduction: Any, conserves: bool | None) -> None:
    """A reduction says whether it `removes` tokens and whether it `reads_tokens`, and names the signals it `wants`."""
    for name in ("removes", "reads_tokens"):
        if not isinstance(getattr(reduction, name, None), bool):
            raise Violation(f"{name} is {getattr(reduction, name, None)!r}; write True or False.")
    wants = getattr(reduction, "wants", ())
    if not isinstance(wants, tuple) or not set(wants) <= {*SIGNAL_NAMES} - {"tokens"}:
        raise Violation(f"wants is {wants!r}; write a tuple of names out of {', '.join(SIGNAL_NAMES[1:])}.")


def keeps_shape_and_type(reduction: Any, conserves: bool | None) -> None:
    """A reduction returns all tokens in the shape and type they came in, and one finite size per token."""
    for dtype in (torch.float32, *HALF):
        for case in cases():
            given = case.to(dtype)
            tokens, sizes = reduced(reduction, given)
            if (tokens.shape, tokens.dtype) != (given.tokens.shape, dtype) or not bool(tokens.isfinite().all()):
                raise Violation(f"On {given} it returned {tokens.dtype} {tuple(tokens.shape)}: {shown(tokens)}.")
            if sizes.shape != given.kept.shape or not bool((sizes >= 0).all()):
                raise Violation(f"On {given} it returned the sizes {shown(sizes)}.")


def sizes_are_those_of_kept_tokens(reduction: Any, conserves: bool | None) -> None:
    """A dropped token has size 0, and a kept one at least the size it had."""
    for case in cases():
        _, sizes = reduced(reduction, case)
        if bool((sizes[~case.kept] != 0).any()) or bool((sizes < case.all_sizes * case.kept).any()):
            raise Violation(f"On {case} it returned the sizes {shown(sizes)}.")


def changes_tokens_only_if_it_says_so(reduction: Any, conserves: bool | None) -> None:
    """A reduction that does not declare `reads_tokens` returns the kept tokens bit for bit."""
    if reduction.reads_tokens:
        return
    for case in cases():
        tokens, _ = reduced(reduction, case)
        if not same(tokens[case.kept], case.tokens[case.kept]):
            raise Violation(f"On {case} it returned {shown(tokens)}.")


def keeping_all_changes_nothing(reduction: Any, conserves: bool | None) -> None:
    """Where every token is kept, tokens and sizes come back bit for bit."""
    for case in cases():
        everything = replace(case, kept=torch.ones_like(case.kept))
        tokens, sizes = reduced(reduction, everything)
        if not same(tokens, case.tokens) or not same(sizes.float(), case.all_sizes):
            raise Violation(f"On {everything} it returned {shown(tokens)} with the sizes {shown(sizes)}.")


def loses_nothing(reduction: Any, conserves: bool | None) -> None:
    """Folding conserves: the sizes, and the sum of the tokens weighted by them, are the same before and after."""
    if not (reduction.reads_tokens if conserves is None else conserves):
        return
    for case in cases():
        tokens, sizes = reduced(reduction, case)
        if not close(sizes.sum(dim=1), case.all_sizes.sum(dim=1), 1e-6):
            raise Violation(f"On {case} the sizes are {shown(sizes)}: they no longer sum to what they did.")
        before = (case.tokens * case.all_sizes[..., None]).sum(dim=1)
        after = (tokens * sizes[..., None]).sum(dim=1)
        if not close(after, before, 1e-4):
            raise Violation(
                f"On {case} the size-weighted sum of the tokens was {shown(before)} and is {shown(after)}; it "
                f"returned {shown(tokens)} with the sizes {shown(sizes)}."
            )


def follows_the_groups(reduction: Any, conserves: bool | None) -> None:
    """A reduction that says that it follows groups gives each kept token the size of its group."""
    if not getattr(reduction, "follows_groups", False):
        return
    for case in cases():
        number = case.kept.cumsum(dim=1) - 1
        last = case.kept.sum(dim=1, keepdim=True) - 1
        # Dropped tokens go to the kept one after them, which is seldom the most similar; the first one into no group.
        assignment = torch.where(case.kept, number, (number + 1).minimum(last))
        assignment[:, 0] = torch.where(case.kept[:, 0], assignment[:, 0], -1)
        _, sizes = reduced(reduction, case, assignment=assignment)
        expected = group_sizes(case.kept, assignment, case.all_sizes)
        if not close(sizes, expected, 1e-6):
            raise Violation(
                f"On {case} in the groups {shown(assignment)} it returned the sizes {shown(sizes)}, expected "
                f"{shown(expected)}."
            )


def same_result_twice(reduction: Any, conserves: bool | None) -> None:
    """A reduction keeps no state and does not write into what it is given."""
    every = list(cases())
    for case, other in zip(every, reversed(every), strict=True):
        given = case.tokens.clone()
        first = reduced(reduction, case)
        first = first[0].clone(), first[1].clone()
        again = reduced(reduction, case)
        reduced(reduction, replace(case, tokens=case.tokens.flip(1)))
        reduced(reduction, other)
        after = reduced(reduction, case)
        if not same(case.tokens, given):
            raise Violation(f"The tokens {shown(given)} are {shown(case.tokens)} afterwards.")
        if not all(same(first[0], later[0]) and same(first[1], later[1]) for later in (again, after)):
            raise Violation(
                f"On {case} it returned {shown(first[0])}, the second time {shown(again[0])} and, after other calls, "
                f"{shown(after[0])}."
            )


def images_do_not_matter_to_each_other(reduction: Any, conserves: bool | None) -> None:
    """The reduced tokens of an image do not depend on the other images of the batch."""
    for case in cases():
        together, _ = reduced(reduction, case)
        for row in range(case.kept.shape[0]):
            alone, _ = reduced(reduction, case.image(row))
            if not close(together[row : row + 1], alone, 1e-6):
                raise Violation(f"On {case}, image {row} is {shown(together[row])}, and {shown(alone[0])} alone.")


def counts_in_float32(reduction: Any, conserves: bool | None) -> None:
    """Half-precision tokens are reduced like their float32 copies, up to the last rounding."""
    many = _case(torch.full((1, 300, 2), 300.0), torch.arange(300)[None] == 0)  # sums to more than float16 holds
    for dtype in HALF:
        for case in (*cases(), many):
            given = case.to(dtype)
            found, _ = reduced(reduction, given)
            expected, _ = reduced(reduction, given.to(torch.float32))
            if not close(found, expected.to(dtype), 2 * torch.finfo(dtype).eps):
                raise Violation(
                    f"On {case} in {dtype} it returned {shown(found)}, in float32 {shown(expected)}; "
                    "begin with `.float()`."
                )


def stays_on_the_device(reduction: Any, conserves: bool | None) -> None:
    """A reduction makes its tokens and sizes on the device that the tokens are on."""
    for case in list(cases())[-2:]:

        def results(move: Move, case: Case = case) -> tuple[Tensor, Tensor]:
            return reduced(reduction, case.changed(move))

        try_elsewhere(results)


LAWS = (
    *components.LAWS,
    declares_what_it_does,
    keeps_shape_and_type,
    same_result_twice,
    sizes_are_those_of_kept_tokens,
    changes_tokens_only_if_it_says_so,
    keeping_all_changes_nothing,
    loses_nothing,
    follows_the_groups,
    images_do_not_matter_to_each_other,
    counts_in_float32,
    stays_on_the_device,
)
"""The laws of reductions, in the order they are checked."""
