"""Image encoders by themselves or beside a text encoder: image tokens leave behind the first of three layers."""

from functools import cache

from tokprune.testing.tiny_encoders import (
    TOKENS,
    captions,
    pictures,
    tiny_clip,
    tiny_dinov2,
    tiny_siglip,
    tiny_timm,
    tiny_vit,
)

from .. import encoder_oracle as oracle
from .family import Family

SCORERS = ("distinct", "first", "l2-norm", "random", "received-attention", "self-attention", "stride")
"""What fits the image tokens of an encoder."""


def _large(make):
    """A picture of another shape, whose positions are worked out from those that were learned."""
    return lambda: {**make((24, 16)), "interpolate_pos_encoding": True}


def timm_pictures(size=(16, 16), images=2):
    """Pictures by the name that timm's models know them by."""
    return {"x": pictures(size, images)["pixel_values"]}


def unfused(**options):
    """A model of timm that computes its attention step by step."""
    model = tiny_timm(**options)
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


PARTS = {
    "clip": oracle.CLIP,
    "clip's image encoder": oracle.CLIP_VISION,
    "siglip": oracle.SIGLIP,
    "dinov2 with registers": oracle.DINOV2,
    "deit": oracle.DEIT,
    "timm with registers": oracle.timm(3),
    "timm without [CLS], unfused": oracle.timm(0),
}
"""Family -> how to run it by hand."""


def _family(name, adapter, build, inputs, several):
    return Family(
        name=name,
        adapter=adapter,
        build=cache(build),
        inputs=inputs,
        oracle=lambda model, inputs, kept: PARTS[name].answer(model, inputs, kept),
        tokens=(TOKENS, TOKENS),
        scorers=SCORERS,
        several={"one image": lambda: inputs(images=1), **several},
        uneven=False,
        tolerance=1e-6 if name == "clip" else 0.0,  # it has a norm of its own
    )


FAMILIES = [
    _family("clip", "clip", tiny_clip, captions, {"another shape": _large(captions)}),
    _family(
        "clip's image encoder",
        "clip",
        lambda: tiny_clip("CLIPVisionModel"),
        pictures,
        {"another shape": _large(pictures)},
    ),
    _family("siglip", "siglip", tiny_siglip, captions, {"another shape": _large(captions)}),
    _family(
        "dinov2 with registers",
        "dinov2",
        lambda: tiny_dinov2("Dinov2WithRegistersForImageClassification"),
        pictures,
        {"another shape": lambda: pictures((24, 16))},
    ),
    _family(
        "deit",
        "vit",
        lambda: tiny_vit("DeiTForImageClassification"),
        pictures,
        {"another shape": _large(pictures)},
    ),
    _family("timm with registers", "timm-vit", lambda: tiny_timm(reg_tokens=2), timm_pictures, {}),
    _family(
        "timm without [CLS], unfused",
        "timm-vit",
        lambda: unfused(class_token=False, global_pool="avg", qk_norm=True, dynamic_img_size=True),
        timm_pictures,
        {"another shape": lambda: timm_pictures((24, 16))},
    ),
]
