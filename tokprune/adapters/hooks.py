"""Hooks, and calls in general, that torch.compile leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


class Hook:
    """A bound method as a hook: copied and saved along with the object it belongs to, and never compiled.

    What a hook observes belongs to one call, and compiled code would remember the first call's. So a compiled module
    breaks its graph at each hook, and goes on behind it.

    Args:
        method: bound method to call.
        first: arguments to put in front of torch's.
    """

    def __init__(self, method: Callable[..., Any], *first: Any) -> None:
        leave_to_python(Hook)
        self.method, self.first = method, first

    @property
    def owner(self) -> Any:
        """Whose cut the hook is part of."""
        found: Any = getattr(self.method, "__self__", None)
        while hasattr(found, "owner"):  # a part of a cut belongs to the cut
            found = found.owner
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What torch calls."""
        return self.method(*self.first, *args, **kwargs)


@cache
def leave_to_python(kind: type) -> None:
    """Keep the compiler out of calls of `kind`'s objects; only when there are any, for it is slow to import."""
    import torch._dynamo

    call: Any = kind.__call__
    kind.__call__ = torch._dynamo.disable(call)  # type: ignore[no-untyped-call, method-assign]
    # All modules of a class share their compiled code, and by default it does not look at whether one has hooks and
    # another has none: a hooked layer would run the code of its sisters, past the hook.
    if hasattr(torch._dynamo.config, "skip_nnmodule_hook_guards"):
        torch._dynamo.config.skip_nnmodule_hook_guards = False
