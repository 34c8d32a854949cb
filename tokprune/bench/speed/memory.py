"""Peak memory of one call: what it needs above what lay there when it began (weights, inputs)."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import accumulate

import torch


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at the highest point of `call`, above what was allocated before; None where it cannot be told.

    On a CUDA device its allocator is asked. On a CPU torch's profiler lists every tensor that is allocated and freed;
    the process' own size would say more about the allocator's habits than about the model.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    return _host_peak(call) if device.type == "cpu" else None


def _host_peak(call: Callable[[], object]) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes lines to the console about GPUs that are not there
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        call()
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    peak: int = max(accumulate((event.nbytes() for event in events), initial=0))
    return peak
