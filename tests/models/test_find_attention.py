"""One finder knows the attention layers of every family: their places, heads and scale."""

import pytest
from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.errors import AdapterError


class Attention(nn.Module):
    def __init__(self, heads=2, **children):
        super().__init__()
        if heads is not None:
            self.num_heads = heads
        for name, width in children.items():
            self.add_module(name, nn.Identity() if width is None else nn.Linear(8, width))


def layers(*each):
    return nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict(one) for one in each)})


def test_layers_come_in_order_with_their_heads_and_scale():
    model = layers(
        {"self_attn": Attention(q_proj=8, k_proj=8)},
        {"self_attn": Attention(heads=4, qkv=48), "encoder_attn": Attention(q_attn=8, c_attn=16)},
    )
    model.layers[0].self_attn.scaling = 0.5
    first, second = find_attention(model, "", crossing=False)
    assert first.modules == (("layers.0.self_attn.q_proj", "query"), ("layers.0.self_attn.k_proj", "key"))
    assert (first.heads, first.scale, first.attention) == (2, 0.5, "layers.0.self_attn")
    assert second.modules == (("layers.1.self_attn.qkv", "query key value"),)
    assert (second.heads, second.scale, second.layer) == (4, 4**-0.5, 1)
    (crossing,) = find_attention(model, "layers.1", "cross_attention", crossing=True)
    assert crossing.modules == (
        ("layers.1.encoder_attn.q_attn", "query"),
        ("layers.1.encoder_attn.c_attn", "key value"),
    )
    assert (crossing.scale, crossing.signal) == (4**-0.5, "cross_attention")
    assert find_attention(model, "", layers=1) == [first]


def test_norms_after_projections_are_what_attends_unless_they_do_nothing():
    normed, idle = Attention(q_proj=8, k_proj=8, q_norm=8, k_norm=8), Attention(q_norm=None, k_norm=None, qkv=24)
    first, second = find_attention(layers({"attn": normed}, {"attn": idle}), "layers")
    assert [path for path, _ in first.modules] == ["layers.0.attn.q_norm", "layers.0.attn.k_norm"]
    assert [path for path, _ in second.modules] == ["layers.1.attn.qkv"]


def test_what_cannot_be_known_is_said():
    with pytest.raises(AdapterError, match="Linear at 'x' has no cross-attention layers"):
        find_attention(nn.ModuleDict({"x": nn.Linear(2, 2)}), "x", crossing=True)
    with pytest.raises(AdapterError, match=r"Attention at 'layers\.0\.attn' does not say how many heads"):
        find_attention(layers({"attn": Attention(heads=None, qkv=24)}), "")
