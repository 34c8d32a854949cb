"""What tokprune puts on modules, hooks and stand-ins for methods, and how what sits there is found again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

from torch import nn


class Hook:
    """A bound method as a hook: copied and saved along with the object it belongs to, and never compiled.

    What a hook observes belongs to one call, and compiled code would remember the first call's. So a compiled module
    breaks its graph at each hook, and goes on after it.

    Args:
        method: bound method to call.
        first: arguments to put in front of torch's.
        every: whether to look at all calls, also at those that began without the attachment.
    """

    def __init__(self, method: Callable[..., Any], *first: Any, every: bool = False) -> None:
        kind: Any = type(self)
        leave_to_python(kind)
        self.method, self.first, self.every = method, first, every

    @property
    def attachment(self) -> Any:
        """The attachment that the hook is part of."""
        return attachment_of(self.method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What torch calls. Nothing happens in calls that began without the attachment."""
        if not self.every and not self.attachment.underway.admits():
            return None
        return self.method(*self.first, *args, **kwargs)

    def take_off(self, module: nn.Module) -> None:
        """Take the hook off `module`."""
        for number in [number for name in _HOOKS for number, hook in getattr(module, name).items() if hook is self]:
            for name in _ABOUT_HOOKS:
                getattr(module, name).pop(number, None)


class Holder:
    """Something among a module's own attributes that holds parts of attachments."""

    @property
    def parts(self) -> Sequence[Any]:
        """Each has an `attachment`, and a `take_off` that takes it off a module."""
        raise NotImplementedError


class MethodShim(Holder):
    """Stands in for `module.name` as an instance attribute and calls `around(original, *args, **kwargs)`.

    Once removed it is nothing but the method, for others may have wrapped it meanwhile.

    It holds no closure over the module's method: the original is looked up at each call, so `copy.deepcopy` and
    `torch.save` of the module carry the shim along consistently. Its signature is the original's, because
    transformers' `generate` reads signatures.
    """

    steps: ClassVar[tuple[str, ...]] = ()
    """Methods of it that the compiler is kept out of, if it may enter what is called else."""

    def __init__(self, module: nn.Module, name: str, around: Callable[..., Any]) -> None:
        kind: Any = type(self)
        leave_to_python(kind, *self.steps)
        self.module, self.name, self.around = module, name, around
        wrapped = name == "forward" and _WRAPPED_FORWARD in module.__dict__
        self.place = _WRAPPED_FORWARD if wrapped else name
        self.shadowed = module.__dict__.get(self.place)
        self.removed = False
        self.__doc__ = getattr(module, name).__doc__
        self.__name__ = name

    def install(self, undo: list[Any]) -> None:
        """Put the shim in place, and append it to `undo`."""
        undo.append(self)
        self.module.__dict__[self.place] = self

    def remove(self) -> None:
        """Put back what was there; a shim installed later stays, and puts back the right thing in its turn."""
        self.removed = True
        own, below = self.module.__dict__, self._below()
        for name in [name for name, value in own.items() if value is self]:
            if name == self.name and below is None:
                del own[name]
            else:  # a wrapper keeps what it wraps under another name, as accelerate does
                own[name] = self.original

    def _below(self) -> Callable[..., Any] | None:
        below = self.shadowed
        while isinstance(below, MethodShim) and below.removed:
            below = below.shadowed
        return below

    @property
    def original(self) -> Callable[..., Any]:
        """The method without the shim."""
        below = self._below()
        if below is not None:
            return below
        method = getattr(type(self.module), self.name, None)
        # A wrapper such as torch.compile's has no such method itself and passes the name on.
        bound: Any = method.__get__(self.module) if method is not None else self.module.__getattr__(self.name)
        return bound  # type: ignore[no-any-return]

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `around` with the method that the shim stands in for; but the method, in calls that it leaves alone."""
        if self.removed or not (self.attachment is None or self.attachment.underway.admits()):
            return self.original(*args, **kwargs)
        return self.around(self.original, *args, **kwargs)

    @property
    def attachment(self) -> Any:
        """The attachment that the shim is part of."""
        return attachment_of(self.around)

    @property
    def parts(self) -> Sequence[Any]:
        """The shim, and those below it."""
        return [self, *(self.shadowed.parts if isinstance(self.shadowed, Holder) else ())]

    def take_off(self, module: nn.Module) -> None:
        """Put back what was there before."""
        self.remove()


def attachment_of(method: Any) -> Any:
    """The attachment that a bound method, or an object that is called like one, is part of; None for others."""
    found = getattr(method, "__self__", method)
    while found is not None and not hasattr(found, "underway"):
        found = getattr(found, "owner", None)
    return found


def parts_on(module: nn.Module) -> Iterator[Any]:
    """The hooks, shims and taps of attachments on one module."""
    for name in _HOOKS:
        yield from (hook for hook in tuple(getattr(module, name).values()) if isinstance(hook, Hook))
    for value in tuple(module.__dict__.values()):
        yield from value.parts if isinstance(value, Holder) else ()


@cache
def leave_to_python(kind: Any, *names: str) -> None:
    """Keep the compiler out of calls of `kind`'s objects; only when there are any, for it is slow to import.

    Args:
        kind: a class.
        names: of its methods that the compiler is kept out of; if there are any, it may enter what the call calls else.
    """
    import torch._dynamo
    from torch._dynamo.decorators import skip

    for name in names or ("__call__",):
        setattr(kind, name, torch._dynamo.disable(getattr(kind, name)))  # type: ignore[no-untyped-call]
    if names:
        kind.__call__ = skip(kind.__call__)


_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_ABOUT_HOOKS = (*_HOOKS, "_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
_WRAPPED_FORWARD = "_old_forward"
"""Where accelerate keeps the `forward` that it wraps, calls it, and takes it from when its own hook is removed."""
