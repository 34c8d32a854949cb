"""What one run of a module costs, counted by torch's own counter on modules without weights: no memory, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


@dataclass(frozen=True)
class Cost:
    """What one run takes. Sums, multiples and parts are meant field by field."""

    flops: int = 0
    """Floating-point operations of one sample; a multiply-add counts two."""
    weights: int = 0
    """Numbers in the weights that are read, once whatever the batch size. Tables that are only looked up do not
    count."""
    cache: int = 0
    """Numbers of the key-value cache that are read for one sample."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.weights + other.weights, self.cache + other.cache)

    def __sub__(self, other: Cost) -> Cost:
        return self + -1 * other

    def __rmul__(self, times: int) -> Cost:
        return Cost(times * self.flops, times * self.weights, times * self.cache)

    def __floordiv__(self, parts: int) -> Cost:
        return Cost(self.flops // parts, self.weights // parts, self.cache // parts)

    def per_beam(self, beams: int) -> Cost:
        """The same run for that many beams of the sample: they share the weights and nothing else."""
        return Cost(beams * self.flops, self.weights, beams * self.cache)


def counter() -> FlopCounterMode:
    """torch's own counter, which also counts sdpa on a CPU: that of torch 2.14 silently leaves it out."""
    return FlopCounterMode(display=False, custom_mapping={_SDPA_ON_CPU: _sdpa})


_SDPA_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _sdpa(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


@torch.no_grad()
def meter(call: Callable[[], object], module: nn.Module) -> Cost:
    """What `call` costs, which runs `module` or parts of it. The cache is the caller's to add.

    Attention has to be eager: then the counter sees every matrix product in it. A causal mask spares nothing in this
    count, as in torch's count of sdpa.
    """
    with counter() as counted, _weights_of_what_runs(module) as read:
        call()
    return Cost(int(counted.get_total_flops()), sum(read.values()))


def deep(run: Callable[[], Cost], stack: nn.ModuleList) -> Cost:
    """What `run` costs, which runs a whole stack of layers, from two runs that are one and two layers deep.

    Where the layers from the second on are alike, each adds what the second one adds. This is what makes counting a big
    model quick; where they are not, all of them run.
    """
    depth = len(stack)
    if depth < 3 or len({_shape(layer) for layer in list(stack)[1:]}) > 1:
        return run()
    with shallow(stack, 1):
        one = run()
    with shallow(stack, 2):
        two = run()
    return one + (depth - 1) * (two - one)


def _shape(layer: nn.Module) -> tuple[tuple[str, torch.Size], ...]:
    return tuple((name, parameter.shape) for name, parameter in layer.named_parameters())


@contextmanager
def shallow(stack: nn.ModuleList, depth: int) -> Iterator[None]:
    """Leaves a stack its first `depth` layers, for the time being."""
    layers = list(stack)
    del stack[depth:]
    try:
        yield
    finally:
        stack.extend(layers[depth:])


@contextmanager
def _weights_of_what_runs(module: nn.Module) -> Iterator[dict[int, int]]:
    """Fills a dictionary with id -> size of the parameters of all parts of `module` that run."""
    read: dict[int, int] = {}

    def ran(part: nn.Module, *_: object) -> None:
        if not isinstance(part, nn.Embedding):
            read.update({id(p): p.numel() for p in part.parameters(recurse=False)})

    hooks = [part.register_forward_hook(ran) for part in module.modules()]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()
