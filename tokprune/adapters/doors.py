"""Where calls begin and end that are calls of their own: the model's, those of its methods, or of a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from tokprune.adapters.calls import leave_call
from tokprune.adapters.direct import DirectCalls
from tokprune.adapters.hooks import EveryCallHook
from tokprune.adapters.modules import MethodShim
from tokprune.adapters.refusals import refuse_symbols, refuse_vmap
from tokprune.errors import UnsupportedCallError

_NONE: Mapping[str, Any] = MappingProxyType({})


class Door:
    """Notes calls of a module, and of some of its methods, for the cut that `owner` is.

    Args:
        owner: the cut.
        module: the module.
        methods: names of methods of it that users call, such as `generate`, if it has them.
    """

    def __init__(self, owner: Any, module: nn.Module, methods: Sequence[str] = ()) -> None:
        self.owner, self.module, self.methods = owner, module, methods

    def install(self, undo: list[Any]) -> None:
        """Put hooks around all other hooks, and append what takes them off to `undo`."""
        undo.append(self.module.register_forward_pre_hook(EveryCallHook(self._enter), with_kwargs=True, prepend=True))
        undo.append(self.module.register_forward_hook(EveryCallHook(self._leave), always_call=True))
        DirectCalls(self.owner, self.module).install_with_hooks(undo)
        for name in self.methods:
            if hasattr(self.module, name):
                shim = _DoorShim(self.module, name, self.around)
                undo.append(shim)
                shim.install()

    def _enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        # Another thread may take the hook off between torch's look at the hooks and at which of them get keywords.
        if module is not self.module:
            raise UnsupportedCallError(
                f"this {type(module).__name__} is a replica, as torch.nn.DataParallel makes them; the policy sits on "
                "the module that it was made of; use DistributedDataParallel, or call handle.remove() first"
            )
        if self.owner.underway.enter(module):
            self.owner.begins(module.forward, args, kwargs)
        self._check(args, kwargs)

    def _check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.owner.underway.admits():
            refuse_vmap()
            refuse_symbols((*args, *kwargs.values()))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if output is None:  # it failed
            leave_call(self.owner)
        call = self.owner.underway.running
        last = self.owner.underway.leave(module)
        if output is not None:
            self.owner.ended(call, module)
        if last:
            self.owner.take_off()

    def around(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Stand in for a method."""
        underway = self.owner.underway
        if underway.enter(self):
            self.owner.begins(original, args, kwargs)
        call = underway.running
        try:
            self._check(args, kwargs)
            output = original(*args, **kwargs)
        except BaseException:
            leave_call(self.owner)
            raise
        finally:
            if underway.leave(self):
                self.owner.take_off()
        self.owner.ended(call, self.module)
        return output


class _DoorShim(MethodShim):
    """A shim that looks at all calls."""

    def _admits(self) -> bool:
        return True
