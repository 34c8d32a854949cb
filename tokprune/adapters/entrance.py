"""Where a call of a cut begins and ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tokprune.adapters.calls import enclosed, leave_call
from tokprune.adapters.hooks import Hook


class Entrance:
    """The module whose call is one call of `owner`: what was entered on its way in is left on its way out.

    torch runs hooks behind a module that failed, but not behind one that was interrupted (`KeyboardInterrupt` is no
    `Exception`). So what an interrupted call left behind is dropped when the next one comes in. A call that a `with`
    block encloses cannot be left behind: what comes in during that is part of it, and passes.

    Args:
        owner: whose calls they are.
        module: the module.
        begin: called with the module, its arguments and its keyword arguments; enters a call if it wants to, and
            returns other arguments or None.
        end: called with the call that was entered and the module's output (None if it failed); returns another output
            or None.
        first: whether `end` comes before the hooks of others that look at the output.
    """

    def __init__(
        self,
        owner: object,
        module: nn.Module,
        begin: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any],
        end: Callable[[Any, Any], Any] | None = None,
        first: bool = False,
    ) -> None:
        self.owner, self.module, self.begin, self.end, self.first = owner, module, begin, end, first

    def install(self, undo: list[Any]) -> None:
        """Register the hooks and append their handles to `undo`.

        On the way in, hooks that were there before come first, such as that of fully_shard, which brings the weights.
        """
        undo.append(self.module.register_forward_pre_hook(Hook(self._on_way_in), with_kwargs=True))
        undo.append(self.module.register_forward_hook(Hook(self._on_way_out), always_call=True, prepend=self.first))

    def _on_way_in(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if enclosed(self.owner):
            return None
        leave_call(self.owner)
        return self.begin(module, args, kwargs)

    def _on_way_out(self, module: nn.Module, args: Any, output: Any) -> Any:
        if enclosed(self.owner):
            return None
        call = leave_call(self.owner)
        return None if call is None or self.end is None else self.end(call, output)
