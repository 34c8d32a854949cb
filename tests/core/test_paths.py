"""Paths with a star find layers by their numbers, and say what is near when there are none."""

import pytest
from torch import nn

from tokprune import AdapterError
from tokprune.adapters.modules import modules_like, starred


def test_layers_come_in_the_order_of_their_numbers():
    tree = nn.ModuleDict({"layers": nn.ModuleDict({number: nn.Linear(1, 1) for number in ("10", "2", "0")})})
    assert list(modules_like(tree, "layers.*").items()) == [(0, "layers.0"), (2, "layers.2"), (10, "layers.10")]


def test_a_star_stands_for_a_number_and_nothing_else():
    tree = nn.ModuleDict({"layers": nn.ModuleDict({"0": nn.Linear(1, 1), "last": nn.Linear(1, 1)})})
    assert list(modules_like(tree, "layers.*")) == [0]


def test_where_nothing_is_the_nearest_path_is_named():
    tree = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attn": nn.Linear(1, 1)})])})
    with pytest.raises(AdapterError, match=r"no module 'layer.\*.attn'; the nearest there is: 'layers.\*.attn'"):
        modules_like(tree, "layer.*.attn")


def test_only_whole_numbers_become_stars():
    for path, expected in {"a.12.b": "a.*.b", "0": "*", "conv1.2x": "conv1.2x", "a.1.2": "a.*.*"}.items():
        assert starred(path) == expected
