"""`tokprune.apply`: check everything, then change the model."""

from __future__ import annotations

from typing import Any

from torch import nn

from tokprune.compiled import unwrap_compiled
from tokprune.errors import AlreadyAppliedError, InvalidValueError
from tokprune.fit import adapter_for, check_signals, choose_target, required_signals
from tokprune.handle import Handle, handles_of
from tokprune.interfaces import Adapter, Aggregator, Positions, Reduction, Scorer, Selector
from tokprune.keep import Keep
from tokprune.policy import DEFAULT_POSITIONS, Policy


def apply(
    model: nn.Module,
    policy: Policy | None = None,
    *,
    scorer: str | Scorer = "catp-vote",
    keep: Keep = 0.5,
    aggregator: str | Aggregator | None = None,
    selector: str | Selector = "top-k",
    reduction: str | Reduction = "prune",
    target: str | None = None,
    positions: Positions = DEFAULT_POSITIONS,
    adapter: str | Adapter | None = None,
) -> Handle:
    """Prune tokens of `model` in every later call, in place, until the handle is removed.

    Everything is checked before anything is changed; what is changed are hooks and instance attributes, which
    `handle.remove()` (or leaving the `with` block) takes off again without a trace.

    Args:
        model: a loaded model that an adapter knows, such as transformers' BLIP-2.
        policy: a `Policy`; or give its parts one by one:
        scorer: signal -> votes: a name, a name with options ("catp-vote:layers=first"), or an object.
        keep: keep ratio (float in (0, 1]) or keep count (int >= 1).
        aggregator: votes -> scores; None takes the scorer's own.
        selector: scores and keep -> kept tokens.
        reduction: "prune" (discard), "merge" (fold into kept ones) or "mask" (dry run at full length).
        target: which tokens may be removed; None takes the adapter's first.
        positions: "compact" (kept tokens take positions 0 .. k-1) or "preserve" (they keep their own).
        adapter: name or object; None finds one.

    Returns:
        A `Handle`: `handle.report`, `handle.check(inputs)`, `handle.remove()`.

    Raises:
        InvalidValueError: a value that cannot be used (a `ValueError`).
        AdapterError: no adapter fits, or it does not offer what the scorer needs; fitting scorers are named.
        AlreadyAppliedError: the model already carries a policy for this target.

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
    """
    parts: dict[str, Any] = {
        "scorer": scorer,
        "keep": keep,
        "aggregator": aggregator,
        "selector": selector,
        "reduction": reduction,
        "target": target,
        "positions": positions,
    }
    if policy is None:
        policy = Policy(**parts)
    elif not isinstance(policy, Policy):
        raise InvalidValueError(f"policy must be a tokprune.Policy, got {policy!r}; a scorer is given as scorer=...")
    else:
        given = [name for name, value in parts.items() if value is not _DEFAULTS[name] and value != _DEFAULTS[name]]
        if given:
            raise InvalidValueError(f"give a policy or its parts, not both: got policy=... and {given[0]}=...")
    model = unwrap_compiled(model)
    fitting = adapter_for(model, adapter)
    chosen = choose_target(model, fitting, policy.target)
    needs = required_signals(policy.scorer, policy.selector)
    check_signals(model, fitting, chosen, f"scorer {policy.scorer!r}", needs)
    for handle in handles_of(model):
        if handle.target == chosen:
            raise AlreadyAppliedError(
                f"{type(model).__name__} already carries {handle!r}; call handle.remove() on it first "
                "(tokprune.handles_of(model) finds it)"
            )
    cut = {"target": chosen, "needs": needs, "reduction": policy.reduction, "positions": policy.positions}
    return Handle(model, policy, fitting, chosen, cut)


_DEFAULTS = {k: v for k, v in (apply.__kwdefaults__ or {}).items() if k != "adapter"}
