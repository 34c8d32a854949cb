"""A direct call of a module's `forward`, past its hooks, is the call of the module."""

from __future__ import annotations

from typing import Any

from torch import nn

from tokprune.adapters.calls import Observation, enter_call, leave_call
from tokprune.adapters.hooks import EveryCallHook, attachment_of, leave_frame_to_python
from tokprune.adapters.modules import MethodShim


class DirectCalls(MethodShim):
    """Stands in for `module.forward`: torch runs hooks for `module(...)` only, so a direct call becomes that.

    A hook that comes after all others notes that torch is about to call `forward`; a call without that note is direct.

    Args:
        owner: the cut.
        module: the module.
    """

    keep_compiler_out = staticmethod(leave_frame_to_python)

    def __init__(self, owner: Any, module: nn.Module) -> None:
        super().__init__(module, "forward", module)
        self.owner = owner
        self._expected = EveryCallHook(self._take_note)

    @property
    def attachment(self) -> Any:
        """The cut that the shim is part of."""
        return attachment_of(self.owner)

    def install_with_hooks(self, undo: list[Any]) -> None:
        """Put the shim and its hooks in place, and append what takes each of them off to `undo`."""
        undo.append(self.module.register_forward_pre_hook(EveryCallHook(self._note)))
        undo.append(self.module.register_forward_hook(EveryCallHook(self._forget), always_call=True))
        undo.append(self)
        self.install()

    def remove(self) -> None:
        """Put back what was there, and drop the note of a call that was interrupted before `forward`."""
        super().remove()
        leave_call(self)

    def _note(self, module: nn.Module, args: Any) -> None:
        enter_call(self, Observation())

    def _forget(self, module: nn.Module, args: Any, output: Any) -> None:
        leave_call(self)

    def _take_note(self) -> bool:
        return leave_call(self) is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method where torch does, or where the shim was removed from below a wrapper; else the module."""
        if self.removed or self._expected():
            return self.original(*args, **kwargs)
        return self.around(*args, **kwargs)
