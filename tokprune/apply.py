"""`tokprune.apply`: check everything, then change the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from torch import nn

from tokprune.after import After
from tokprune.bound import adapter_name
from tokprune.defaults import settled
from tokprune.errors import AdapterError, AlreadyAppliedError, InvalidValueError
from tokprune.fit import bound_to, check_fits, choose_target, required_signals
from tokprune.handle import Handle, handles_of
from tokprune.handles import Handles, by_target
from tokprune.interfaces import (
    Adapter,
    Aggregator,
    AttentionKind,
    Bound,
    Inside,
    Positions,
    Reduction,
    Scorer,
    Selector,
)
from tokprune.keep import Keep
from tokprune.policy import DEFAULT_POSITIONS, Policy
from tokprune.wrappers import unwrap


@overload
def apply(
    model: nn.Module,
    policy: Policy | None = None,
    *,
    scorer: str | Scorer | None = ...,
    keep: Keep = ...,
    aggregator: str | Aggregator | None = ...,
    selector: str | Selector = ...,
    reduction: str | Reduction = ...,
    target: str | None = ...,
    positions: Positions = ...,
    after: After | Sequence[int] | None = ...,
    attention: AttentionKind | None = ...,
    inside: Inside | None = ...,
    adapter: str | Adapter | None = ...,
) -> Handle: ...
@overload
def apply(model: nn.Module, policy: Sequence[Policy], *, adapter: str | Adapter | None = ...) -> Handles: ...
def apply(
    model: nn.Module,
    policy: Policy | Sequence[Policy] | None = None,
    *,
    scorer: str | Scorer | None = None,
    keep: Keep = 0.5,
    aggregator: str | Aggregator | None = None,
    selector: str | Selector = "top-k",
    reduction: str | Reduction = "prune",
    target: str | None = None,
    positions: Positions = DEFAULT_POSITIONS,
    after: After | Sequence[int] | None = None,
    attention: AttentionKind | None = None,
    inside: Inside | None = None,
    adapter: str | Adapter | None = None,
) -> Handle | Handles:
    """Prune tokens of `model` in every later call, in place, until the handle is removed.

    Everything is checked before anything is changed; what is changed are hooks and instance attributes, which
    `handle.remove()` (or leaving the `with` block) takes off again without a trace.

    Video tokens of models that read images and videos (Qwen-VL, LLaVA-OneVision) are not pruned, only those of images.
    Where a call brings images, video or sound and something of that is not pruned, an `UnprunedWarning` says so once
    for each handle, with the reason; text alone is no reason to warn.

    Args:
        model: a loaded model that an adapter knows, such as transformers' BLIP-2; also inside `torch.compile`,
            `DistributedDataParallel` or a PEFT model, whose calls then are pruned.
        policy: a `Policy`; or several, for different targets or, where the adapter can do that, for one target at
            different places (in stages); or give the parts of one, one by one:
        scorer: signal -> votes: a name, a name with options ("catp-vote:layers=first"), or an object; None takes the
            adapter's default for the target.
        keep: keep ratio (float in (0, 1]) or keep count (int >= 1).
        aggregator: votes -> scores; None takes the scorer's own.
        selector: scores and keep -> kept tokens.
        reduction: "prune" (discard), "merge" (fold into kept ones) or "mask" (dry run at full length).
        target: which tokens may be removed; None takes the adapter's first.
        positions: "compact" (kept tokens take positions 0 .. k-1 of the language model) or "preserve" (they keep their
            own).
        after: for a target that is cut inside an encoder, behind which of its layers: a share of the depth, a number
            of layers, several, or "every"; None takes the adapter's default.
        attention: "proportional" lets a merged token count in attention for as many tokens as it stands for, "plain"
            for one; None takes "proportional" where tokens are merged and the model can be weighed.
        inside: "encoder" prunes inside the image (or sound) encoder, whose layers `after` then counts.
        adapter: name or object; None finds one.

    Returns:
        A `Handle`: `handle.report`, `handle.check(inputs)`, `handle.remove()`. For several policies `Handles`: a
        sequence of them, in the order given, that is checked and removed as one.

    Raises:
        InvalidValueError: a value that cannot be used (a `ValueError`).
        AdapterError: no adapter fits, or it does not offer what the scorer needs; fitting scorers are named.
        AlreadyAppliedError: the model already carries a policy for this target, at this place or where there can be one
            only.

    Example:
        >>> import tokprune
        >>> from tokprune.zoo import load_dataset, load_model
        >>> model, processor = load_model("blip2-shapes")
        >>> sample = load_dataset("shapes-vqa", split="test", n=1)[0]
        >>> inputs = processor(images=sample.image, text="Question: what?", return_tensors="pt")
        >>> with tokprune.apply(model, scorer="catp-vote", keep=0.25) as handle:
        ...     _ = model(**inputs)
        >>> handle.report.counts
        tensor([8])
        >>> image = tokprune.Policy("received-attention", keep=0.5, target="image")
        >>> with tokprune.apply(model, [image, tokprune.Policy(keep=0.25)]) as handles:
        ...     _ = model(**inputs)
        >>> handles.reports["query"].counts, handles.reports["image"].counts
        (tensor([8]), tensor([32]))
    """
    parts: dict[str, Any] = {
        "scorer": scorer,
        "keep": keep,
        "aggregator": aggregator,
        "selector": selector,
        "reduction": reduction,
        "target": target,
        "positions": positions,
        "after": after,
        "attention": attention,
        "inside": inside,
    }
    several = isinstance(policy, Sequence)
    policies = _policies(policy, parts)
    model = unwrap(model)
    bound = bound_to(model, adapter)
    plans = [_plan(bound, each) for each in policies]
    _check_places(model, plans)
    others = handles_of(model)
    try:
        made = {id(p): Handle(bound, p.policy, p.target, p.cut) for p in _in_order(plans)}
        handles = [made[id(plan)] for plan in plans]
        _check_stages(model, handles)
        return Handles(handles) if several else handles[0]
    except BaseException:
        for handle in reversed(handles_of(model)):
            if handle not in others:
                handle.remove()
        raise


@dataclass(frozen=True)
class _Plan:
    """A policy that was found to fit."""

    policy: Policy
    target: str
    cut: dict[str, Any]

    @property
    def where(self) -> tuple[str, Inside | None, After | None]:
        """Which tokens it prunes, and where."""
        return self.target, self.policy.inside, self.policy.after

    @property
    def place(self) -> tuple[bool, float]:
        """Comes in front of another place if it is smaller: first the encoder, then in front of the reader."""
        after = self.policy.after
        first = after[0] if isinstance(after, tuple) else 1 if after == "every" else after or 0
        return self.policy.inside is None, float(first)


def _policies(policy: Policy | Sequence[Policy] | None, parts: dict[str, Any]) -> list[Policy]:
    if policy is None:
        return [Policy(**parts)]
    policies = list(policy) if isinstance(policy, Sequence) else [policy]
    for each in policies:
        if not isinstance(each, Policy):
            raise InvalidValueError(
                f"policy must be a tokprune.Policy, or a list of them, got {policy!r}; a scorer is given as scorer=..."
            )
    if not policies:
        raise InvalidValueError("policy is an empty list; give at least one tokprune.Policy")
    given = [name for name, value in parts.items() if value is not _DEFAULTS[name] and value != _DEFAULTS[name]]
    if given:
        raise InvalidValueError(f"give a policy or its parts, not both: got policy=... and {given[0]}=...")
    return policies


def _plan(bound: Bound, policy: Policy) -> _Plan:
    policy = settled(bound, policy)
    target = choose_target(bound, policy.target)
    components = {kind: getattr(policy, kind) for kind in ("scorer", "selector", "reduction")}
    for kind, component in components.items():
        check_fits(bound, target, kind, component, policy)
    cut = {
        "target": target,
        "needs": required_signals(*components.values()),
        "reduction": policy.reduction,
        "positions": policy.positions,
        "keep": policy.keep if getattr(policy.selector, "uniform", False) else None,
        "after": policy.after,
        "attention": policy.attention,
        "inside": policy.inside,
    }
    return _Plan(policy, target, cut)


def _in_order(plans: Sequence[_Plan]) -> list[_Plan]:
    """As they came, but those of one target in the order of their places."""
    stages: dict[str, list[_Plan]] = {}
    for plan in sorted(plans, key=lambda plan: plan.place):
        stages.setdefault(plan.target, []).append(plan)
    return [stages[plan.target].pop(0) for plan in plans]


def _check_places(model: nn.Module, plans: Sequence[_Plan]) -> None:
    """Raise if two policies prune the same tokens at the same place."""
    places = [plan.where for plan in plans]
    twice = next((plan for plan in plans if places.count(plan.where) > 1), None)
    if twice is not None:
        raise InvalidValueError(
            f"policy: {places.count(twice.where)} of the policies prune target {twice.target!r} at the same place "
            f"(after={twice.policy.after!r}); each place takes one"
        )
    for handle in handles_of(model):
        if (handle.target, handle.policy.inside, handle.policy.after) in places:
            raise _already(model, handle)


def _check_stages(model: nn.Module, new: Sequence[Handle]) -> None:
    """Raise if several policies prune one target where that cannot be, or at one place written in two ways."""
    every = by_target(handles_of(model))
    for handle in new:
        for other in every[handle.target]:
            same = handle.policy.inside == other.policy.inside and handle.places & other.places
            if other is handle or (handle.stages and other.stages and not same):
                continue
            if other not in new:
                raise _already(model, other)
            if same:
                raise InvalidValueError(
                    f"policy: after={handle.policy.after!r} and after={other.policy.after!r} prune target "
                    f"{handle.target!r} at the same place; each place takes one"
                )
            raise AdapterError(
                f"adapter {adapter_name(handle.adapter)!r} target {handle.target!r} is pruned at one place of a "
                f"{type(model).__name__} only, got two policies: after={handle.policy.after!r} and "
                f"after={other.policy.after!r}; take one of them, with several layers as `after` if it offers that"
            )


def _already(model: nn.Module, handle: Handle) -> AlreadyAppliedError:
    return AlreadyAppliedError(
        f"{type(model).__name__} already carries {handle!r}; call handle.remove() on it first "
        "(tokprune.handles_of(model) finds it)"
    )


_DEFAULTS = {k: v for k, v in (apply.__kwdefaults__ or {}).items() if k != "adapter"}
