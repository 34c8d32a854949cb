"""Image encoders: who votes and what is counted, against attention that the model computes step by step."""

import pytest
import torch

import tokprune

from .families.encoders import FAMILIES, PARTS
from .oracle import best

every_encoder = pytest.mark.parametrize("family", FAMILIES, ids=str)


def observed(family, after=2, shape="", **options):
    """A model, its inputs, and what is seen behind two layers."""
    model, inputs = family.build(), (family.several[shape] if shape else family.inputs)()
    return model, inputs, tokprune.observe(model, inputs, ("encoder_attention", "grid"), after=after, **options)


@every_encoder
def test_scores_are_attention_received_in_the_layer_before_the_cut(family):
    model, inputs, parts = family.build(), family.inputs(), PARTS[family.name]
    maps = parts.maps(model, inputs)
    for after, layers in ((2, "last"), (2, "first"), (3, "all")):
        seen = {"last": maps[after - 1 : after], "first": maps[:1], "all": maps[:after]}[layers]
        expected = sum(each[..., parts.protected :].sum(dim=(1, 2)) for each in seen)
        with tokprune.apply(model, scorer=f"received-attention:layers={layers}", keep=5, after=after) as handle:
            family.answer(model, inputs)
        assert torch.allclose(handle.report.scores, expected, rtol=1e-3, atol=1e-4)
        assert torch.equal(handle.report.kept, best(expected.tolist(), 5))


@every_encoder
def test_cls_is_the_first_voter_of_each_head(family):
    model, inputs, signal = observed(family)
    parts = PARTS[family.name]
    expected = parts.maps(model, inputs)[1][:, :, :1, parts.protected :]
    votes = signal.encoder_attention[1].of_voters(0, 1)
    assert torch.allclose(votes.by_head, expected, atol=1e-5)
    assert votes.protected == parts.protected


@every_encoder
def test_attention_is_far_from_uniform(family):
    for layer in observed(family, after=3)[2].encoder_attention:
        logits = layer.query @ layer.key.transpose(2, 3) * layer.scale
        assert 1.5 < logits.std(dim=-1).mean() < 2.6


@pytest.mark.parametrize("family", [each for each in FAMILIES if "another shape" in each.several], ids=str)
def test_the_grid_is_that_of_the_picture(family):
    assert observed(family)[2].grid == (4, 4)
    _, _, signal = observed(family, shape="another shape")
    assert (signal.grid, signal.token_count) == ((6, 4), 24)


@pytest.mark.parametrize("family", [each for each in FAMILIES if "another shape" in each.several], ids=str)
def test_a_picture_of_another_shape_is_pruned_as_by_hand(family):
    model, inputs = family.build(), family.several["another shape"]()
    with tokprune.apply(model, scorer="received-attention", keep=5, after=2) as handle:
        found = family.answer(model, inputs)
    expected = PARTS[family.name].answer(model, inputs, handle.report.kept, after=2)
    assert torch.allclose(found, expected, atol=1e-6)
    assert handle.report.kept.shape[1] == 24
