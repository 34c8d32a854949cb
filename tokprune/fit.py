"""Does a policy fit a model? Everything that is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any

from torch import nn

from tokprune.after import After
from tokprune.bound import adapter_name, bind
from tokprune.errors import AdapterError
from tokprune.interfaces import Adapter, AttentionKind, Bound, Reduction, Scorer, Selector
from tokprune.layers import Layers
from tokprune.policy import Policy
from tokprune.registry import Registry, default_registry
from tokprune.wrappers import known_inside, unwrap


def adapter_for(model: nn.Module, adapter: str | Adapter | None = None) -> Adapter:
    """The adapter for `model`: the one given, or the first registered one that matches.

    Raises:
        AdapterError: `model` is not a module, or no adapter knows it.
    """
    registry = default_registry()
    model = unwrap(model)
    if not isinstance(model, nn.Module):
        raise AdapterError(f"expected a torch.nn.Module, got {type(model).__name__}")
    if adapter is not None:
        chosen: Adapter = registry.create("adapter", adapter)
        if not chosen.matches(model):
            why = getattr(chosen, "why_not", None)
            reason = why(model) if callable(why) else ""
            reason = f": {reason}" if reason else ""
            raise AdapterError(f"adapter {adapter!r} does not fit a {type(model).__name__}{reason}")
        return chosen
    for entry in registry.entries("adapter"):
        candidate: Adapter = entry.cls()
        if candidate.matches(model):
            return candidate
    raise AdapterError(f"no adapter knows {type(model).__module__}.{type(model).__name__}. {_remedy(model, registry)}")


def _remedy(model: nn.Module, registry: Registry) -> str:
    """What to do with a model that no adapter knows."""
    for entry in registry.entries("adapter"):
        why = getattr(entry.cls(), "why_not", None)
        reason = why(model) if callable(why) else ""
        if reason:
            return f"{reason[0].upper()}{reason[1:]}"
    inside = known_inside(model)
    if inside is not None:
        return f"Apply to the module at {inside}"
    return (
        "If it is a part of a larger model, apply to that. Installed adapters: "
        f"{', '.join(registry.names('adapter'))}; give one with adapter=..., or install a plugin that has one. "
        "tokprune.inspect_attention(model) lists what tokprune.adapters.GenericAdapter could use"
    )


def bound_to(model: nn.Module, adapter: str | Adapter | None = None) -> Bound:
    """The adapter for `model`, as `adapter_for` finds it, bound to it."""
    model = unwrap(model)
    return bind(adapter_for(model, adapter), model)


def choose_target(bound: Bound, target: str | None) -> str:
    """`target` if the adapter can prune it on this model; the adapter's first one for None."""
    if target is None:
        return next(iter(bound.offers))
    if target not in bound.offers:
        raise AdapterError(
            f"adapter {adapter_name(bound.adapter)!r} cannot cut target {target!r} of a {type(bound.model).__name__}; "
            f"its targets: {', '.join(repr(t) for t in bound.offers)}"
        )
    return target


def resolved_attention(bound: Bound, target: str, policy: Policy) -> AttentionKind:
    """How a kept token counts in attention where `policy` prunes `target`.

    Raises:
        AdapterError: the policy asks for proportional attention, and the model cannot be weighed there.
    """
    if policy.attention == "plain" or not policy.groups:
        return "plain"
    reason = bound.weighs(target, policy.after, policy.inside)
    if reason is True:
        return "proportional"
    if policy.attention is None:
        return "plain"
    raise AdapterError(
        f"adapter {adapter_name(bound.adapter)!r} target {target!r}: attention='proportional' cannot be had where this "
        f"policy prunes a {type(bound.model).__name__}: {reason}. Take attention='plain', or omit it"
    )


def wanted_signals(component: Scorer | Selector | Reduction) -> dict[str, Layers]:
    """Signal -> layers that a component reads: what a scorer needs, what a selector or a reduction wants."""
    layers: Mapping[str, Layers] = getattr(component, "layers_read", {})
    names = chain(getattr(component, "needs", ()), getattr(component, "wants", ()))
    return {name: layers.get(name, "all") for name in names if name != "votes"}


def required_signals(*components: Scorer | Selector | Reduction) -> dict[str, Layers]:
    """Signal -> layers to capture for all of them: all layers, where they read different ones."""
    required: dict[str, Layers] = {}
    for component in components:
        for name, layers in wanted_signals(component).items():
            required[name] = layers if required.get(name, layers) == layers else "all"
    return required


def misfits(component: Any, target: str, offered: Collection[str]) -> tuple[str, ...]:
    """Why a component (an object or its class) does not fit a target that offers these signals; empty if it does."""
    reasons = []
    targets = getattr(component, "targets", None)
    if targets is not None and target not in targets:
        reasons.append(f"is for {_listed(targets)} tokens only")
    read = [*getattr(component, "needs", ()), *getattr(component, "wants", ())]
    missing = [name for name in read if name != "votes" and name not in offered]
    if missing:
        reasons.append(f"needs {_listed(missing)}")
    for name in (name for name in offered if name in read):
        voters, wanted = getattr(name, "voters", None), getattr(component, "voted_by", {}).get(name)
        if voters and wanted and voters != wanted:
            reasons.append(f"needs the votes of {wanted} tokens in {str(name)!r}, and here {voters} tokens vote")
        if getattr(name, "pooled", False) and name in getattr(component, "keys_read", ()):
            reasons.append(f"reads the keys in {str(name)!r}, and here each token is made of several, with a key each")
        together = [other for other in read if other in getattr(name, "apart", ())]
        if together:
            reasons.append(f"needs {str(name)!r} and {_listed(together)} together, which are observed in two places")
    return tuple(reasons)


def fitting_scorers(target: str, offered: Collection[str]) -> list[str]:
    """Names of the registered scorers that miss nothing on a target that offers these signals."""
    scorers = default_registry().entries("scorer")
    return [entry.name for entry in scorers if not misfits(entry.cls, target, offered)]


def check_signals(bound: Bound, target: str, who: str, required: Collection[str], after: After | None = None) -> None:
    """Raise `AdapterError` if a required signal is not offered; the message lists the scorers that do fit."""
    offered = bound.offers_after(target, after)
    missing = [name for name in required if name not in offered]
    if missing:
        raise AdapterError(f"{who} needs {_listed(missing)}; {_offer(bound.adapter, target, offered)}")


def check_fits(bound: Bound, target: str, kind: str, component: Scorer | Selector | Reduction, policy: Policy) -> None:
    """Raise `AdapterError` if a component is not for `target`, or reads what is not offered there.

    The message lists the scorers that fit.
    """
    offered = bound.offers_after(target, policy.after, policy.inside)
    reasons = misfits(component, target, offered)
    if not reasons:
        return
    fits = policy.after is not None and not misfits(component, target, bound.offers[target])
    hint = f". Without after={policy.after!r} it fits" if fits else ""
    raise AdapterError(f"{kind} {component!r} {', and '.join(reasons)}; {_offer(bound.adapter, target, offered)}{hint}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)


def _offer(adapter: Adapter, target: str, offered: Collection[str]) -> str:
    return (
        f"adapter {adapter_name(adapter)!r} target {target!r} offers {_listed(offered)}. "
        f"Fitting scorers: {', '.join(fitting_scorers(target, offered))}"
    )
