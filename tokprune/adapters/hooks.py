"""Hooks, and calls in general, that torch.compile leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakSet


class Hook:
    """A bound method as a hook: copied and saved along with the object it belongs to, and never compiled.

    What a hook observes belongs to one call, and compiled code would remember the first call's. So a compiled module
    breaks its graph at each hook, and goes on behind it.

    Args:
        method: bound method to call.
        first: arguments to put in front of torch's.
    """

    def __init__(self, method: Callable[..., Any], *first: Any) -> None:
        kind: Any = type(self)
        leave_to_python(kind)
        self.method, self.first = method, first

    @property
    def attachment(self) -> Any:
        """The cut that the hook is part of."""
        return attachment_of(self.method)

    @property
    def owner(self) -> Any:
        """Whose cut the hook is part of."""
        return getattr(self.attachment, "owner", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What torch calls. Nothing happens in calls that began without the cut."""
        if not self.attachment.underway.admits():
            return None
        return self.method(*self.first, *args, **kwargs)


class EveryCallHook(Hook):
    """A hook that looks at all calls, also at those that began without the cut."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What torch calls."""
        return self.method(*self.first, *args, **kwargs)


def attachment_of(method: Any) -> Any:
    """The cut that a bound method, or an object that is called like one, is part of; None if it is part of none."""
    found = getattr(method, "__self__", method)
    while found is not None and not hasattr(found, "underway"):
        found = getattr(found, "owner", None)
    return found


@cache
def leave_frame_to_python(kind: type) -> None:
    """Keep the compiler out of calls of `kind`'s objects, but not out of what they call."""
    from torch._dynamo.decorators import skip

    kind.__call__ = skip(kind.__call__)  # type: ignore[method-assign]


@cache
def leave_to_python(kind: type) -> None:
    """Keep the compiler out of calls of `kind`'s objects; only when there are any, for it is slow to import."""
    import torch._dynamo

    call: Any = kind.__call__
    kind.__call__ = torch._dynamo.disable(call)  # type: ignore[no-untyped-call, method-assign]


_CUTS: WeakSet[Any] = WeakSet()
"""The cuts that have hooks on a model, but for those that were thrown away along with it."""
_FOUND: dict[str, bool] = {}
"""What torch's setting was when the first of them came."""
_SETTING = "skip_nnmodule_hook_guards"


def guard_hooks(cut: object) -> None:
    """Let compiled code look at hooks as long as `cut` has some.

    All modules of a class share their compiled code, and by default it does not look at whether one has hooks and
    another has none: a hooked layer would run the code of its sisters, past the hook. The setting is one for the whole
    process, so it is put back when the last cut is gone. There is no lock: an interrupt at its end would leave it held.
    """
    import torch._dynamo

    config: Any = torch._dynamo.config
    _CUTS.add(cut)
    if hasattr(config, _SETTING):
        _FOUND.setdefault(_SETTING, getattr(config, _SETTING))
        setattr(config, _SETTING, False)


def release_hooks(cut: object) -> None:
    """Say that `cut` has no hooks any more."""
    import torch._dynamo

    config: Any = torch._dynamo.config
    _CUTS.discard(cut)
    if not _CUTS and _SETTING in _FOUND:
        setattr(config, _SETTING, _FOUND[_SETTING])
        if _CUTS:  # one came meanwhile, in another thread
            setattr(config, _SETTING, False)
        else:
            _FOUND.pop(_SETTING, None)
