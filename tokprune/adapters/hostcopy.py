"""Numbers on their way from the device to the host: asked for early and read late, so that nothing waits."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A small tensor whose values the host will want later.

    On a CUDA device the copy is queued in front of the work that is launched next. When it is read, that work is still
    running but the copy has long been made: the host does not wait for the device to run dry.

    Args:
        values: any shape.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._values: Tensor | None = values
        if values.is_meta or type(values).__name__ == "FakeTensor":
            self._values = None  # there are no values, only shapes
        elif values.device.type == "cuda":
            if torch.cuda.is_current_stream_capturing():
                self._values = None  # a CUDA graph is being recorded: the values come when it is replayed
            else:
                self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
                self._values.copy_(values, non_blocking=True)
                self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._event.record(torch.cuda.current_stream(values.device))

    @property
    def here(self) -> bool:
        """Whether the values can be read at no cost."""
        return self._event is None

    def read(self) -> list[int] | None:
        """The values, or None where there are none to be had before the call is over."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return None if self._values is None else self._values.tolist()
