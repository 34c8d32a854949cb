"""Image encoders: tokens leave in one step or several, as whole or merged, and the answer is that of a run by hand."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_encoders import captions, pictures, tiny_clip, tiny_dinov2, tiny_siglip, tiny_timm, tiny_vit

from .families.encoders import FAMILIES, PARTS, timm_pictures

FALLING = [({1: 10, 3: 4}, (1, 3)), ({1: 12, 2: 8, 3: 4}, "every")]
"""Tokens left of 16 behind each layer, and `after`."""

BY_NAME = {family.name: family for family in FAMILIES}
with_cls = pytest.mark.parametrize("name", ["clip", "clip's image encoder"])


@with_cls
@pytest.mark.parametrize("reduction", ["prune", "merge"])
@pytest.mark.parametrize(("counts", "after"), FALLING, ids=str)
def test_in_steps_as_by_hand(name, counts, after, reduction):
    family = BY_NAME[name]
    model, inputs = family.build(), family.inputs()
    expected = PARTS[name].stepwise(model, inputs, counts, reduction == "merge")
    with tokprune.apply(model, scorer="l2-norm", keep=4, reduction=reduction, after=after, attention="plain") as handle:
        found = family.answer(model, inputs)
    assert torch.allclose(found, expected, atol=1e-5)
    assert handle.report.length_after == 5


def test_the_default_is_a_third_of_the_depth():
    family = BY_NAME["deit"]
    model, inputs = family.build(), family.inputs()
    with tokprune.apply(model, scorer="received-attention", keep=4) as handle:
        found = family.answer(model, inputs)
    assert torch.equal(found, PARTS["deit"].answer(model, inputs, handle.report.kept, after=1))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_behind_the_last_layer(family):
    model, inputs = family.build(), family.inputs()
    with tokprune.apply(model, scorer="received-attention", keep=4, after=3) as handle:
        found = family.answer(model, inputs)
        report = handle.check(inputs)
    assert torch.allclose(found, PARTS[family.name].answer(model, inputs, report.kept, after=3), atol=1e-6)


OTHERS = {
    "clip vision with projection": (lambda: tiny_clip("CLIPVisionModelWithProjection"), pictures),
    "clip classification": (lambda: tiny_clip("CLIPForImageClassification"), pictures),
    "siglip vision": (lambda: tiny_siglip("SiglipVisionModel"), pictures),
    "siglip classification": (lambda: tiny_siglip("SiglipForImageClassification"), pictures),
    "dinov2": (tiny_dinov2, pictures),
    "dinov2 classification": (lambda: tiny_dinov2("Dinov2ForImageClassification"), pictures),
    "dinov2 with registers": (lambda: tiny_dinov2("Dinov2WithRegistersModel"), pictures),
    "vit": (lambda: tiny_vit("ViTModel"), pictures),
    "vit classification": (tiny_vit, pictures),
    "deit": (lambda: tiny_vit("DeiTModel"), pictures),
    "deit with teacher": (lambda: tiny_vit("DeiTForImageClassificationWithTeacher"), pictures),
    "timm, attention pooling, no [CLS]": (lambda: tiny_timm(class_token=False, global_pool="map"), timm_pictures),
    "timm, norm first": (lambda: tiny_timm(pre_norm=True), timm_pictures),
    "timm distilled": (lambda: distilled(), timm_pictures),
}
"""Model -> how it is made, and its inputs."""


def distilled():
    return tiny_timm(model="timm.models.deit.VisionTransformerDistilled")


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_models_with_the_same_encoder_prove_themselves(name):
    build, inputs = OTHERS[name]
    model = build()
    with tokprune.apply(model, scorer="received-attention", keep=4, after=2) as handle:
        report = handle.check(inputs())
    assert report.kept.shape == (2, 16)
    assert report.length_before - report.length_after == 12


def test_the_text_is_left_alone():
    for build in (tiny_clip, tiny_siglip):
        model, inputs = build(), captions()
        text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            expected = model.get_text_features(**text)
            with tokprune.apply(model, scorer="first", keep=2) as handle:
                found = model.get_text_features(**text)
        assert torch.equal(found.pooler_output, expected.pooler_output)
        assert handle.report is None
