"""The tap: observe what an attention module attends with, and weigh its keys, whichever implementation computes it.

transformers looks up the function that computes attention by a name in the module's configuration. A tapped module
gets a view of its configuration that gives the tap's name instead; the tap calls the implementation that the user
chose.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.hooks import Holder, attachment_of
from tokprune.adapters.upstream import (
    ATTENDS_ITSELF,
    ATTENTION_FUNCTIONS,
    PACKED,
    attention_functions,
    name_attention,
)
from tokprune.errors import UnsupportedCallError
from tokprune.functional.proportional import biased_mask, with_coordinates

_BY_MASK = ("eager", "sdpa", None)
"""Implementations that add a mask of four dimensions to the logits; others are given the bias as coordinates."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One call of an attention module, after norms and rotation, heads apart.

    Attributes:
        query: `[row head query dim]`.
        key: `[row key_head key dim]`; with grouped queries there are fewer heads of keys.
        value: `[row key_head key dim]`.
        mask: as the module was given it: `[row 1 query key]`, bool or added to the logits, or `[row key]`; or None.
        scale: factor on the dot products.
        causal: whether later keys are hidden, beside what the mask hides.
        first: which key the first query stands at, where that matters.
        window: how many keys, its own included, a query sees at most, beside what the mask hides; None for all.
        bias: what else is added to the logits `[row head query key]` (T5's relative positions), or None.
        softcap: the logits are capped at this value before the mask is added (Gemma 2), or None.
        bounds: where stretches of tokens that see only each other begin, in a sequence that packs several, and the end
            of the last `[stretch + 1]`; None where that is not given.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float
    causal: bool = False
    first: int = 0
    window: int | None = None
    bias: Tensor | None = None
    softcap: float | None = None
    bounds: Tensor | None = None

    def allowed(self) -> Tensor | None:
        """Which query sees which key, bool `[row 1 query key]`, or the same for all rows; None if each sees all.

        Raises:
            UnsupportedCallError: the mask is of a kind that only its own implementation can read.
        """
        queries, keys = self.query.shape[2], self.key.shape[2]
        mask = self.mask
        if mask is not None and not isinstance(mask, Tensor):
            raise UnsupportedCallError(
                f"who sees whom cannot be read from a mask of type {type(mask).__name__}; choose another attention "
                "implementation with model.set_attn_implementation('sdpa')"
            )
        if mask is not None:
            mask = mask[:, None, None, -keys:] if mask.dim() == 2 else mask
            mask = mask > torch.finfo(mask.dtype).min / 2 if mask.is_floating_point() else mask.bool()
        if not self.causal:
            return mask
        seen = torch.ones(queries, keys, dtype=torch.bool, device=self.key.device).tril(self.first)
        if self.window is not None:
            seen = seen.triu(self.first - self.window + 1)
        return seen[None, None] if mask is None else mask & seen


class Tap:
    """A tap on one attention module; several may sit on it, and leave it in any order.

    Args:
        module: an attention module that `reaches` is true of.
        observe: bound method of an attachment; called with a `Seen` in each call of the module.
        weigh: bound method of an attachment; called with a `Seen`, and gives what is added to the logits of each key
            `[row key]`, or None for nothing.
        first: arguments to put in front of the `Seen`.

    Calls that began without the attachment are left alone.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        observe: Callable[..., None] | None = None,
        weigh: Callable[..., Tensor | None] | None = None,
        first: tuple[Any, ...] = (),
    ) -> None:
        self.module, self.observe, self.weigh, self.first = module, observe, weigh, first
        self.weighed = False
        """Whether it weighed any key in the last call."""

    @property
    def attachment(self) -> Any:
        """What the tap is part of."""
        return attachment_of(self.observe or self.weigh)

    @property
    def admits(self) -> bool:
        """Whether the call that is under way began with the attachment."""
        attachment = self.attachment
        return attachment is None or bool(attachment.underway.admits())

    def install(self) -> None:
        """Put the tap on the module."""
        _prepare()
        own = self.module.__dict__
        if not isinstance(own["config"], View):
            own["config"] = View(own["config"])
        own["config"].taps.append(self)

    def remove(self) -> None:
        """Take the tap off; with the last one the module has its configuration again."""
        self.take_off(self.module)

    def take_off(self, module: nn.Module) -> None:
        """The same on `module`, which may be a copy that others made of the tap's own."""
        view = module.__dict__.get("config")
        if not isinstance(view, View):
            return
        view.taps[:] = [tap for tap in view.taps if tap is not self]
        if not view.taps:
            module.__dict__["config"] = view.real


def reaches(module: nn.Module) -> bool:
    """Whether `module` computes attention through transformers' interface, so that it can be tapped."""
    config = module.__dict__.get("config")
    named = hasattr(config, "_attn_implementation")
    kind: Any = type(module)
    return (
        named and ATTENTION_FUNCTIONS in _forward(kind).__code__.co_names and not getattr(module, ATTENDS_ITSELF, False)
    )


class View(Holder):
    """A configuration as a tapped module sees it: all is read from and written to the real one, but for the name."""

    def __init__(self, real: Any) -> None:
        self.__dict__.update(real=real, taps=[])

    @property
    def parts(self) -> list[Tap]:
        """The taps."""
        return list(self.taps)

    @property
    def _attn_implementation(self) -> str:
        chosen = self.real._attn_implementation
        if chosen not in _NAMED:  # the user chose another one meanwhile
            _name(chosen)
        return _NAMED[chosen]

    def __getattr__(self, name: str) -> Any:
        if name in ("real", "taps") or name.startswith("__"):  # a copy that is being made
            raise AttributeError(name)
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _prepare()  # in a process that has only loaded the model


class _Untapped:
    """A module as an implementation sees it that looks at the configuration's name of itself."""

    def __init__(self, module: nn.Module, config: Any) -> None:
        self.module, self.config = module, config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def _tapped(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Stands in for the implementation that the user chose, and calls it."""
    view = module.__dict__["config"]
    config = view.real if isinstance(view, View) else view  # another thread took the taps off just now
    chosen = config._attn_implementation
    implementation = _functions(module.__class__).get_interface(chosen, _eager(module.__class__))
    bias = _listen(view, module, query, key, value, attention_mask, kwargs)
    if chosen not in _BY_MASK:
        module = _Untapped(module, config)
    if bias is None:
        return implementation(module, query, key, value, attention_mask, *args, **kwargs)
    if chosen in _BY_MASK:
        mask = biased_mask(
            query, key, attention_mask, bias, causal=_causal(module, chosen, query, attention_mask, kwargs)
        )
        return implementation(module, query, key, value, mask, *args, **kwargs)
    if kwargs.get("softcap") is not None:
        raise UnsupportedCallError(
            f"attention implementation {chosen!r} caps the logits, and proportional attention adds to them afterwards; "
            "choose model.set_attn_implementation('eager'), or attention='plain'"
        )
    scale = _scale(query, kwargs)
    query, key, value, width = with_coordinates(query, key, value, bias, scale)
    output = implementation(module, query, key, value, attention_mask, *args, **{**kwargs, "scaling": scale})
    return (output[0][..., :width], *output[1:])


def _listen(
    view: Any, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, kwargs: dict[str, Any]
) -> Tensor | None:
    """Let every tap observe; the sum of what they weigh `[row key]`, or None."""
    taps = [tap for tap in list(view.taps) if tap.admits] if isinstance(view, View) else []
    if torch._C._current_graph_task_id() != -1:  # in backward, where gradient checkpointing computes it again
        _refuse_weighed(taps)
        taps = []
    if not taps:
        return None
    chosen = view.real._attn_implementation
    from_mask = chosen in _BY_MASK
    seen = Seen(
        query,
        key,
        value,
        mask,
        _scale(query, kwargs),
        causal=_causal(module, chosen, query, mask, kwargs),
        first=0 if from_mask else key.shape[2] - query.shape[2],
        window=None if from_mask else kwargs.get("sliding_window"),
        bias=kwargs.get("position_bias"),
        softcap=kwargs.get("softcap"),
        bounds=kwargs.get(PACKED),
    )
    for tap in taps:
        if tap.observe is not None:
            tap.observe(*tap.first, seen)
    weighed = []
    for tap in taps:
        bias = None if tap.weigh is None else tap.weigh(*tap.first, seen)
        tap.weighed = bias is not None
        weighed += [] if bias is None else [bias]
    return sum(weighed[1:], weighed[0]) if weighed else None


def _refuse_weighed(taps: list[Tap]) -> None:
    if any(tap.weighed for tap in taps):
        raise UnsupportedCallError(
            "gradient checkpointing computes attention again in backward, where the sizes of merged tokens are no "
            "longer known; call model.gradient_checkpointing_disable(), or use attention='plain'"
        )


def _scale(query: Tensor, kwargs: dict[str, Any]) -> float:
    given = kwargs.get("scaling")
    return float(query.shape[-1] ** -0.5 if given is None else given)


def _causal(module: Any, chosen: str | None, query: Tensor, mask: Any, kwargs: dict[str, Any]) -> bool:
    """Whether later keys are hidden although no mask of four dimensions says so."""
    if chosen in ("eager", None) or query.shape[2] == 1 or (isinstance(mask, Tensor) and mask.dim() == 4):
        return False
    if mask is not None and not isinstance(mask, Tensor):
        return False  # says it itself
    given = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if given is None else given)


@cache
def _forward(kind: Any) -> Any:
    return inspect.unwrap(kind.forward)


def _functions(kind: Any) -> Any:
    """Where `kind` looks up attention functions: a model's file may have a place of its own, with others in it."""
    return _forward(kind).__globals__[ATTENTION_FUNCTIONS]


@cache
def _eager(kind: Any) -> Any:
    """The eager implementation that the model's own file brings for `kind`."""
    forward = _forward(kind)
    names = (name for name in forward.__code__.co_names if name.endswith("eager_attention_forward"))
    return next((forward.__globals__[name] for name in names if name in forward.__globals__), None)


class _Name(str):
    """The name under which the tap stands in for the implementation `chosen`; a module that compares it finds that."""

    chosen: str | None

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) or self.chosen == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


_NAMED: dict[str | None, _Name] = {}


def _name(chosen: str | None) -> None:
    """Let the tap stand in for the implementation `chosen`."""
    name = name_attention(chosen)
    attention_functions().register(name, _tapped)
    _NAMED[chosen] = _Name(name)
    _NAMED[chosen].chosen = chosen


@cache
def _prepare() -> None:
    """Make the tap known to transformers, and its listening unknown to the compiler: it belongs to one call."""
    import torch._dynamo

    global _listen
    _listen = torch._dynamo.disable(_listen)  # type: ignore[no-untyped-call]
    for name in ("eager", None, *list(attention_functions())):
        _name(name)
