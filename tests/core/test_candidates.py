"""`inspect_attention`: attention is known by its projections, grouped by stacks, and told apart by what enters."""

import pytest
import torch
from torch import nn

import tokprune
from tokprune import inspect_attention


class Attention(nn.Module):
    """Projections of the given names and widths, and attributes."""

    def __init__(self, names=("q_proj", "k_proj"), inside=(8, 8), outside=(8, 8), **attributes):
        super().__init__()
        for name, one, other in zip(names, inside, outside, strict=False):
            setattr(self, name, nn.Linear(one, other))
        self.names = names
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x, y=None):
        getattr(self, self.names[0])(x)
        if len(self.names) > 1:
            getattr(self, self.names[1])(x if y is None else y)
        return x


class Stack(nn.Module):
    """Layers of attention under a list."""

    def __init__(self, *attentions, other=None):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"attn": attention}) for attention in attentions)
        self.other = other

    def forward(self, x):
        for layer in self.layers:
            x = layer["attn"](x, self.other)
        return x


def only(model, inputs=None):
    (stack,) = inspect_attention(model, inputs)
    return stack


NAMES = [
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("to_q", "to_k"),
    ("q", "k"),
    ("q_norm", "k_norm"),
    ("qkv",),
    ("query_key_value",),
]


@pytest.mark.parametrize("names", NAMES, ids=" and ".join)
def test_projections_are_known_by_their_names(names):
    fused = len(names) == 1
    stack = only(Stack(*(Attention(names, outside=(24,) if fused else (8, 8), num_heads=2) for _ in range(3))))
    assert (stack.path, stack.layers, stack.projections, stack.heads) == ("layers.*.attn", 3, names, 2)


def test_other_projections_are_none():
    assert inspect_attention(Stack(Attention(("up", "down")))) == []
    assert inspect_attention(Stack(Attention(("q_proj",)))) == []


def test_norms_behind_projections_are_what_attends_unless_they_do_nothing():
    model = Stack(Attention(("q_proj", "k_proj", "q_norm", "k_norm"), inside=(8,) * 4, outside=(8,) * 4))
    assert only(model).projections == ("q_norm", "k_norm")
    model.layers[0]["attn"].q_norm = nn.Identity()
    assert only(model).projections == ("q_proj", "k_proj")


def test_layers_that_differ_are_stacks_of_their_own():
    stacks = inspect_attention(Stack(Attention(num_heads=2), Attention(num_heads=4), Attention(num_heads=2)))
    assert [(stack.layers, stack.heads) for stack in stacks] == [(2, 2), (1, 4)]


class Config:
    num_attention_heads = 4


HEADS = {
    "num_heads": ({"num_heads": 2}, 2),
    "n_heads": ({"n_heads": 8}, 8),
    "configuration": ({"config": Config()}, 4),
    "head_dim": ({"head_dim": 2}, 4),
    "nothing": ({}, None),
    "that do not divide": ({"num_heads": 3}, None),
    "no number": ({"num_heads": True}, None),
}


@pytest.mark.parametrize("case", HEADS)
def test_heads_come_from_the_module_or_its_configuration_if_they_can_be(case):
    attributes, heads = HEADS[case]
    stack = only(Stack(Attention(**attributes)))
    assert stack.heads == heads
    assert ("unknown" in str(stack)) == (heads is None)


def test_without_a_probe_names_and_widths_tell_self_from_cross():
    assert only(Stack(Attention())).kind == "unknown"
    assert only(Stack(Attention(("qkv",), outside=(24,)))).kind == "self"
    assert only(Stack(Attention(inside=(8, 16)))).kind == "cross"
    for name, kind in (
        ("self_attn", "self"),
        ("cross_attn", "cross"),
        ("encoder_attn", "cross"),
        ("EncDecAttention", "cross"),
    ):
        assert only(nn.ModuleDict({name: Attention()})).kind == kind


def test_a_probe_tells_by_what_enters():
    x = torch.zeros(1, 5, 8)
    stack = only(Stack(Attention()), {"x": x})
    assert (stack.kind, stack.lengths.queries, stack.lengths.keys) == ("self", 5, 5)
    stack = only(Stack(Attention(), other=torch.zeros(1, 3, 8)), {"x": x})
    assert (stack.kind, stack.lengths.queries, stack.lengths.keys) == ("cross", 5, 3)
    assert only(Stack(Attention(), other=torch.zeros(1, 5, 8)), {"x": x}).kind == "cross"  # as long, and yet another


def test_a_probe_leaves_no_hook_behind_even_if_the_forward_fails():
    model = Stack(Attention())
    for inputs in ({"x": torch.zeros(1, 5, 8)}, {"x": torch.zeros(1, 5, 7)}):
        try:
            inspect_attention(model, inputs)
        except RuntimeError:
            assert inputs["x"].shape[2] == 7
        assert not any(module._forward_pre_hooks for module in model.modules())


def test_what_no_hook_can_see_is_said():
    stack = only(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 3))
    assert (stack.path, stack.layers, stack.heads, stack.projections) == ("layers.*.self_attn", 3, 2, ())
    assert "no hook sees" in stack.notes[0]
    assert stack.call is None


class Rotating(Attention):
    def forward(self, x, position_embeddings):
        return x


NOTED = {
    "rotary": Rotating(num_heads=2),
    "relative": Attention(num_heads=2, relative_attention_bias=nn.Embedding(4, 2)),
    "in front of them": Attention(num_heads=2, is_causal=True),
    "fewer heads": Attention(num_heads=2, outside=(8, 4)),
}


@pytest.mark.parametrize("word", NOTED)
def test_what_would_not_be_what_attends_is_noted_and_not_offered(word):
    stack = only(Stack(NOTED[word]))
    assert word in " ".join(stack.notes)
    assert word in str(stack)
    assert stack.call is None


def test_the_usual_scale_is_that_of_one_head_of_the_queries():
    fused = {"names": ("qkv",), "outside": (24,), "num_heads": 2}
    assert only(Stack(Attention(**fused, scale=0.5))).scale is None
    assert only(Stack(Attention(**fused, scaling=0.25))).scale == 0.25
    assert only(Stack(Attention(num_heads=2, scale=0.5))).scale is None


def test_stacks_of_stacks_are_listed_and_have_no_call():
    stack = only(nn.ModuleDict({"stages": nn.ModuleList(Stack(Attention(num_heads=2)) for _ in range(2))}))
    assert (stack.path, stack.layers, stack.call) == ("stages.*.layers.*.attn", 2, None)


def test_layers_at_the_root_have_a_call_too():
    model = nn.Sequential(Attention(num_heads=2), Attention(num_heads=2))
    assert only(model).call == 'GenericAdapter(encoder="", q="*.q_proj", k="*.k_proj", heads=2)'


def test_the_call_is_one_that_works():
    known = {"GenericAdapter": tokprune.adapters.GenericAdapter}

    class Whole(nn.Module):
        def __init__(self, *options, **more):
            super().__init__()
            self.vision = Stack(Attention(*options, **more), Attention(*options, **more))

    adapter = eval(only(Whole(num_heads=2, scale=0.25)).call, known)
    assert (adapter.encoder, adapter.q, adapter.heads, adapter.scale) == ("vision", "layers.*.attn.q_proj", 2, 0.25)
    assert adapter.matches(Whole())
    adapter = eval(only(Whole(("qkv",), outside=(24,), num_heads=4)).call, known)
    assert (adapter.qkv, adapter.heads, adapter.scale) == ("layers.*.attn.qkv", 4, None)
