"""What one run costs, against arithmetic written out by hand."""

from itertools import pairwise

import torch
from torch import nn

from tokprune.bench.flops import Cost, deep, meter, shallow


class Stack(nn.Module):
    """A table, and linear layers of given widths with a bias each."""

    def __init__(self, *widths):
        super().__init__()
        self.table = nn.Embedding(10, widths[0])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, ids):
        hidden = self.table(ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


def run_of(stack, tokens=3):
    return lambda: meter(lambda: stack(torch.zeros(1, tokens, dtype=torch.long)), stack)


def test_a_multiply_add_counts_two_and_looking_up_nothing():
    assert run_of(Stack(4, 5))() == Cost(flops=2 * 3 * 4 * 5, weights=4 * 5 + 5)


def test_a_part_that_runs_twice_is_read_once():
    stack = Stack(4, 4)
    ids = torch.zeros(1, 3, dtype=torch.long)
    assert meter(lambda: (stack(ids), stack(ids)), stack) == Cost(flops=2 * 2 * 3 * 16, weights=20)


def test_a_part_that_does_not_run_is_not_read():
    stack = Stack(4, 4, 4)
    assert meter(lambda: stack.layers[1](torch.zeros(3, 4)), stack) == Cost(flops=2 * 3 * 16, weights=20)


def test_nothing_is_left_on_the_module():
    stack = Stack(4, 4)
    run_of(stack)()
    assert not any(part._forward_hooks for part in stack.modules())


def test_two_short_runs_say_what_a_deep_stack_costs():
    stack, depths = Stack(8, 4, 4, 4, 4), []
    whole = run_of(stack)()
    assert deep(lambda: depths.append(len(stack.layers)) or run_of(stack)(), stack.layers) == whole
    assert depths == [1, 2]
    assert len(stack.layers) == 4


def test_all_layers_run_where_they_differ():
    stack, depths = Stack(4, 4, 4, 6), []
    whole = run_of(stack)()
    assert deep(lambda: depths.append(len(stack.layers)) or run_of(stack)(), stack.layers) == whole
    assert depths == [3]


def test_a_stack_gets_its_layers_back_in_order_also_after_an_error():
    stack = Stack(4, 4, 4, 4)
    layers = list(stack.layers)
    try:
        with shallow(stack.layers, 1):
            assert list(stack.layers) == layers[:1]
            raise RuntimeError
    except RuntimeError:
        pass
    assert list(stack.layers) == layers


def test_beams_share_the_weights_and_nothing_else():
    assert Cost(2, 3, 5).per_beam(4) == Cost(8, 3, 20)
