"""Modules by path, and a method of one module instance replaced for a while."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.hooks import attachment_of, leave_to_python
from tokprune.adapters.shape import release_of
from tokprune.errors import AdapterError


def module_at(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path ("encoder.layer.0.attention")."""
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise AdapterError(
            f"{type(model).__name__} of {release_of(model)} has no module {path!r} ({error}); this adapter does not "
            "fit this release of it"
        ) from None


def part_of(model: nn.Module, module: str, classes: Sequence[str]) -> str:
    """That `model` is a part of one of `classes`, in words, if it is defined where they are; else nothing."""
    if type(model).__module__ != module or type(model).__name__ in classes:
        return ""
    whole = " or ".join(classes)
    return f"a {type(model).__name__} is a part of a {whole}; apply to the whole model"


class MethodShim:
    """Stands in for `module.name` as an instance attribute and calls `around(original, *args, **kwargs)`.

    Once removed it is nothing but the method, for others may have wrapped it meanwhile.

    It holds no closure over the module's method: the original is looked up at each call, so `copy.deepcopy` and
    `torch.save` of the module carry the shim along consistently. Its signature is the original's, because
    transformers' `generate` reads signatures.
    """

    keep_compiler_out: ClassVar[Any] = staticmethod(leave_to_python)

    def __init__(self, module: nn.Module, name: str, around: Callable[..., Any]) -> None:
        self.keep_compiler_out(type(self))
        self.module, self.name, self.around = module, name, around
        self.shadowed = module.__dict__.get(name)
        self.removed = False
        self.__doc__ = getattr(module, name).__doc__
        self.__name__ = name

    def install(self) -> None:
        """Put the shim in place."""
        self.module.__dict__[self.name] = self

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
        """Call `around` with the method that the shim stands in for; only that, in calls that began without the cut."""
        if self.removed or not self._admits():
            return self.original(*args, **kwargs)
        return self.around(self.original, *args, **kwargs)

    @property
    def attachment(self) -> Any:
        """The cut that the shim is part of."""
        return attachment_of(self.around)

    def _admits(self) -> bool:
        return self.attachment is None or bool(self.attachment.underway.admits())
