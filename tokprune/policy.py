"""Policy: a frozen choice of what to prune and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from tokprune.after import After, check_after
from tokprune.choosing import check_nothing_reads_votes, choose
from tokprune.errors import InvalidValueError, brief
from tokprune.interfaces import Aggregator, AttentionKind, Choice, Inside, Positions, Reduction, Scorer, Selector
from tokprune.keep import Keep, check_keep
from tokprune.registry import default_registry
from tokprune.signal import Signal

DEFAULT_POSITIONS: Positions = "compact"
"""The better treatment on the bundled model; the figures are in the documentation's results."""


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Policy:
    """Scorer, aggregator, selector, reduction, target, keep, positions and depth of the cut, checked and frozen.

    A component is a registered name, a name with options ("catp-vote:layers=first"), or an object.

    Args:
        scorer: signal -> votes, or scores; None takes the adapter's default for the target, which is chosen when the
            policy is applied (`handle.policy` has it).
        keep: keep ratio (float in (0, 1]) or keep count (int >= 1).
        aggregator: votes -> scores; None takes the scorer's own.
        selector: scores and keep -> kept, or groups.
        reduction: "prune", "merge" or "mask".
        target: which tokens may be removed; None takes the adapter's first.
        positions: "compact" (kept tokens take positions 0 .. k-1 of the language model) or "preserve" (they keep their
            own). Tokens cut inside an encoder carry their positions with them either way.
        after: for a target that is cut inside an encoder: behind which of its layers; where a decoder cross-attends to
            the tokens: behind which of its cross-attention layers. A float in (0, 1] is a share of the depth, an int
            >= 1 a number of layers; several numbers, or "every", remove tokens in equal steps (as ToMe does, arXiv
            2210.09461). None takes the adapter's default.
        attention: "proportional" lets a kept token count in attention for as many tokens as it stands for (log(size) is
            added to its logits, as ToMe does), "plain" lets it count once. None takes "proportional" where tokens are
            merged and the model can be weighed there, which is found when the policy is applied (`handle.policy` has
            it), and "plain" elsewhere.
        inside: "encoder" prunes inside the image (or sound) encoder, whose layers `after` then counts; None prunes
            where the target has its own place.

    Raises:
        InvalidValueError: a value that cannot be used; `UnknownNameError` for a name that nobody registered.

    Example:
        >>> Policy("catp-vote:layers=first", keep=8)
        Policy(scorer='catp-vote:layers=first', keep=8)
        >>> Policy("received-attention", keep=0.25, target="image", after=13)
        Policy(scorer='received-attention', keep=0.25, target='image', after=13)
        >>> Policy.from_dict(Policy(keep=0.25).to_dict()) == Policy(keep=0.25)
        True
    """

    scorer: Scorer | None
    keep: Keep
    aggregator: Aggregator | None
    selector: Selector
    reduction: Reduction
    target: str | None
    positions: Positions
    after: After | None
    attention: AttentionKind | None
    inside: Inside | None

    def __init__(
        self,
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
    ) -> None:
        create = default_registry().create
        chosen = None if scorer is None else create("scorer", scorer)
        rule = _own_aggregator(chosen) if aggregator is None else aggregator
        if positions not in get_args(Positions):
            raise InvalidValueError(f"positions must be 'compact' or 'preserve', got {brief(positions)}")
        if target is not None and not isinstance(target, str):
            raise InvalidValueError(f"target must be a name such as 'query', got {brief(target)}")
        if attention not in (None, *get_args(AttentionKind)):
            raise InvalidValueError(f"attention must be 'proportional', 'plain' or None, got {brief(attention)}")
        if inside not in (None, *get_args(Inside)):
            raise InvalidValueError(f"inside must be 'encoder' or None, got {brief(inside)}")
        values = {
            "scorer": chosen,
            "keep": check_keep(keep),
            "aggregator": None if rule is None else create("aggregator", rule),
            "selector": create("selector", selector),
            "reduction": create("reduction", reduction),
            "target": target,
            "positions": positions,
            "after": None if after is None else check_after(after),
            "attention": attention,
            "inside": inside,
        }
        if chosen is not None and getattr(chosen, "aggregator", "sum") is None:
            check_nothing_reads_votes(chosen, aggregator, values["selector"])
        if "tokens" in getattr(values["reduction"], "wants", ()):
            raise InvalidValueError(
                f"reduction {values['reduction']!r} wants 'tokens': the tokens to reduce are its first argument; take "
                "the name out of `wants`"
            )
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if attention == "proportional" and not self.groups:
            raise InvalidValueError(
                f"attention='proportional' counts a token for as many as it stands for, and with reduction "
                f"{brief(self._shown('reduction'))} and selector {brief(self._shown('selector'))} each kept token "
                "stands for itself; take reduction='merge', or omit attention"
            )

    @property
    def groups(self) -> bool:
        """Whether a kept token may stand for a group of tokens: merged ones, or those that the selector groups."""
        merges = self.reduction.reads_tokens and getattr(self.reduction, "conserves", True)
        return self.reduction.removes and (merges or getattr(self.selector, "makes_groups", False))

    def choose(self, signal: Signal, keep: Keep | None = None) -> Choice:
        """Choose which tokens stay.

        Args:
            signal: what was observed.
            keep: what stays, if not the policy's own keep: for tokens that are pruned in several steps.

        Raises:
            InvalidValueError: there is no scorer yet, or a component returned something unusable.

        Example:
            >>> import torch
            >>> signal = Signal(tokens=torch.tensor([[[1.0], [3.0], [2.0]]]))
            >>> Policy("l2-norm", keep=2).choose(signal).kept
            tensor([[False,  True,  True]])
        """
        if self.scorer is None:
            raise InvalidValueError(
                f"{self!r} has no scorer yet; tokprune.apply(model, policy) takes the default of the model's adapter"
            )
        keep = self.keep if keep is None else keep
        own = self.aggregator == self._own_rule
        return choose(self.scorer, self.aggregator, self.selector, signal, keep, own_rule=own)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `json` can write. Complete unless the scorer is None: then the model's adapter chooses it.

        Raises:
            InvalidValueError: a component is not registered, so it has no name.
        """
        after = list(self.after) if isinstance(self.after, tuple) else self.after
        values: dict[str, Any] = {"keep": self.keep, "target": self.target, "positions": self.positions, "after": after}
        values |= {name: value for name, value in self._rarely.items() if value is not None}
        for kind in ("scorer", "aggregator", "selector", "reduction"):
            component = getattr(self, kind)
            spec = None if component is None else default_registry().spec_of(kind, component)
            if spec is None and component is not None:
                raise InvalidValueError(
                    f"{kind} {component!r} is not registered, so a policy with it cannot be written down; register "
                    f"its class through the hook register_{kind}s"
                )
            values[kind] = spec
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Policy:
        """The policy that `to_dict` wrote."""
        known = ", ".join(cls.__dataclass_fields__)
        if not isinstance(values, Mapping):
            raise InvalidValueError(f"a policy is read from a mapping with {known}, got {brief(values)}")
        unknown = [name for name in values if name not in cls.__dataclass_fields__]
        if unknown:
            raise InvalidValueError(f"a policy has no {brief(unknown[0])}; it has {known}")
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    @property
    def _value(self) -> tuple[Any, ...]:
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__} | self._rarely
        return tuple(parts.values())

    @property
    def _rarely(self) -> dict[str, Any]:
        """What is None in most policies; how attention counts says nothing where each token stands for itself."""
        return {"attention": self.attention if self.groups else None, "inside": self.inside}

    @property
    def _own_rule(self) -> Aggregator | None:
        """The scorer's own aggregator."""
        own = _own_aggregator(self.scorer)
        return None if own is None else default_registry().create("aggregator", own)

    def _shown(self, kind: str) -> Any:
        component = getattr(self, kind)
        return default_registry().spec_of(kind, component) or component

    def __repr__(self) -> str:
        shown = self._shown
        parts = {} if self.scorer is None else {"scorer": shown("scorer")}
        parts["keep"] = self.keep
        if self.aggregator != self._own_rule:
            parts["aggregator"] = shown("aggregator")
        for kind, usual in (("selector", "top-k"), ("reduction", "prune")):
            if shown(kind) != usual:
                parts[kind] = shown(kind)
        if self.target is not None:
            parts["target"] = self.target
        if self.positions != DEFAULT_POSITIONS:
            parts["positions"] = self.positions
        if self.after is not None:
            parts["after"] = self.after
        parts |= {name: value for name, value in self._rarely.items() if value is not None}
        return f"Policy({', '.join(f'{name}={value!r}' for name, value in parts.items())})"


def _own_aggregator(scorer: Scorer | None) -> Any:
    return None if scorer is None else getattr(scorer, "aggregator", "sum")
