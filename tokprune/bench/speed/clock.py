"""Clocks: on a CUDA device its own events, elsewhere the host's clock with the device at rest."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Sets marks, and tells the time between two of them."""

    def mark(self) -> Any:
        """A mark at this moment of the device's work."""
        ...

    def settle(self) -> None:
        """Wait until the device has nothing left to do."""
        ...

    def seconds(self, begin: Any, end: Any) -> float:
        """The time from one mark to a later one."""
        ...


class HostClock:
    """The host's clock. Before a mark the device finishes its work, so that the work counts where it belongs."""

    def __init__(self, device: torch.device) -> None:
        self._module = torch.get_device_module(device)

    def mark(self) -> float:
        """The host's time, once the device is at rest."""
        self.settle()
        return time.perf_counter()

    def settle(self) -> None:
        """Wait for the device; a CPU has always finished."""
        self._module.synchronize()

    def seconds(self, begin: float, end: float) -> float:
        """The difference."""
        return end - begin


class EventClock:
    """Events of a CUDA device: marks that the device sets when it gets there, so that nobody has to wait for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Any:
        """An event behind all work handed to the device so far."""
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)

    def seconds(self, begin: Any, end: Any) -> float:
        """The device's time between two events."""
        end.synchronize()
        milliseconds: float = begin.elapsed_time(end)
        return milliseconds / 1e3


def clock_for(device: torch.device) -> Clock:
    """The clock that a device is timed by."""
    return EventClock(device) if device.type == "cuda" else HostClock(device)
