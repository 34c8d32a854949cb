"""The scorer of a policy that names none: the adapter's for the target, or the first of a list that fits."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from tokprune.after import After
from tokprune.bound import adapter_name
from tokprune.errors import AdapterError
from tokprune.fit import bound_to, choose_target, fitting_scorers, resolved_attention
from tokprune.interfaces import Adapter, Bound, Inside
from tokprune.policy import Policy
from tokprune.registry import default_registry
from tokprune.specs import parse_spec

FALLBACKS = ("received-attention", "text-attention", "focus", "self-attention", "stride")
"""Scorers in the order in which they are tried where an adapter names none that fits.

The first four read what the model itself attends to; `stride` fits wherever tokens are observed. The order is that of
what was measured: see the documentation, "Which scorer is the default".
"""


def with_defaults(model: nn.Module, policy: Policy, adapter: str | Adapter | None = None) -> Policy:
    """The policy as it acts on `model`: the default scorer of the adapter where it names none, and `attention` settled.

    Raises:
        AdapterError: no adapter fits the model, no scorer is known to fit the target, or attention cannot be
            proportional there.
    """
    return settled(bound_to(model, adapter), policy)


def settled(bound: Bound, policy: Policy) -> Policy:
    """`with_defaults` of an adapter that is bound already."""
    target = choose_target(bound, policy.target)
    if policy.scorer is None:
        name = default_scorer(bound, target, policy.after, policy.inside)
        policy = replace(policy, scorer=default_registry().create("scorer", name))
    return replace(policy, attention=resolved_attention(bound, target, policy))


def default_scorer(bound: Bound, target: str, after: After | None = None, inside: Inside | None = None) -> str:
    """The name of the scorer that is meant on `target` if none is named.

    It is the one in the adapter's `default_scorers`, if that fits where `after` says, and else the first of `FALLBACKS`
    that does.

    Raises:
        AdapterError: none of them fits.
    """
    offered = bound.offers_after(target, after, inside)
    adapter = bound.adapter
    own = getattr(adapter, "default_scorers", {}).get(target)
    fitting = fitting_scorers(target, offered)
    tried = (*([own] if own else []), *FALLBACKS)
    for spec in tried:
        if parse_spec(spec)[0] in fitting:
            return str(spec)
    raise AdapterError(
        f"adapter {adapter_name(adapter)!r} target {target!r} offers {', '.join(offered)}, and no default scorer fits: "
        f"tried {', '.join(tried)}. Give scorer=..., one of: {', '.join(fitting) or 'none of the installed ones fits'}"
    )
