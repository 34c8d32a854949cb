"""Clocks: on a CUDA device its own events, elsewhere the host's clock with the device at rest.

On a CPU that others use too, the time that the process itself was given can be taken instead.
"""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

import torch

from tokprune.errors import InvalidValueError

Kind = Literal["wall", "cpu"]


class Clock(Protocol):
    """Sets marks, and tells the time between two of them."""

    name: str
    """What a certificate calls it."""

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
    """The host's clock. Before a mark the device finishes its work, so that the work counts where it belongs.

    Args:
        device: What works.
        kind: "wall" for the time that passes; "cpu" for the time that this process was given, all its threads together,
            whatever else the machine does.
    """

    def __init__(self, device: torch.device, kind: Kind = "wall") -> None:
        self._module = torch.get_device_module(device)
        self._now = {"wall": time.perf_counter, "cpu": time.process_time}[kind]
        self.name = {"wall": "wall clock", "cpu": "CPU time"}[kind]

    def mark(self) -> float:
        """The host's time, once the device is at rest."""
        self.settle()
        return self._now()

    def settle(self) -> None:
        """Wait for the device; a CPU has always finished."""
        self._module.synchronize()

    def seconds(self, begin: float, end: float) -> float:
        """The difference."""
        return end - begin


class EventClock:
    """Events of a CUDA device: marks that the device sets when it gets there, so that nobody has to wait for it."""

    name = "device events"

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


def clock_for(device: torch.device, kind: Kind = "wall") -> Clock:
    """The clock that a device is timed by.

    Raises:
        InvalidValueError: CPU time says nothing about a device that is not the CPU, or there is no such clock.
    """
    if kind not in ("wall", "cpu") or (kind == "cpu" and device.type != "cpu"):
        raise InvalidValueError(f"clock {kind!r} of device {device.type!r}: expected wall, or on a CPU also cpu")
    return EventClock(device) if device.type == "cuda" else HostClock(device, kind)
