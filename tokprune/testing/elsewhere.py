"""A made-up GPU, with shapes and no values: shows whether a component works where it is called, on any machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tokprune.testing.failures import Violation

Move = Callable[[Tensor], Tensor]
"""Puts a tensor onto the made-up GPU."""

_PLACE = "cuda"


def try_elsewhere(run: Callable[[Move], Iterable[Tensor]]) -> None:
    """Run a component on tensors of a made-up GPU, and look where its results are.

    What needs values (`.item()`, a boolean index) cannot be tried this way, and passes.

    Args:
        run: moves its tensors, calls the component, returns what came out.

    Raises:
        Violation: devices were mixed, or a result is on another device than what went in.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        try:
            results = list(run(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=_PLACE)))
        except Exception as error:
            if "device" not in str(error):
                return
            raise Violation(
                f"Called with tensors on {_PLACE!r} it raised {type(error).__name__}: {str(error).splitlines()[0]} "
                "Make new tensors with device=... of one that was given."
            ) from error
        found = {tensor.device.type for tensor in results} - {_PLACE}
    if found:
        raise Violation(
            f"Called with tensors on {_PLACE!r} it returned tensors on {', '.join(map(repr, sorted(found)))}; make new "
            "tensors with device=... of one that was given."
        )
