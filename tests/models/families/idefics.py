"""Idefics, the first one: image tokens, or the resampler's latents, leave in front of the decoder or inside of it."""

from functools import partial

import torch
from transformers.models.idefics.modeling_idefics import IdeficsBaseModelOutputWithPast

from tokprune.testing.tiny_idefics import LATENTS, prompts, tiny_idefics

from ..masking import Masking
from .family import Family, after_prompt
from .mllama import SCORERS, real_rows

LAYERS = [f"model.gated_cross_attn_layers.{layer}.cross_attn" for layer in range(3)]


def _fed_by_hand(argument, protected):
    """The model, given embeddings of images that were shortened by hand."""

    def fed(model, inputs, kept):
        rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
        pixels = inputs["pixel_values"]
        states = model.model.vision_model(pixels.flatten(0, 1)).last_hidden_state
        if argument == "perceiver_embeddings":
            states = model.model.perceiver_resampler(states)
        stays = torch.nn.functional.pad(kept, (protected, 0), value=True)
        # The resampler's latents come row by row, and image by image since 5.24.
        joined = argument == "perceiver_embeddings" and hasattr(IdeficsBaseModelOutputWithPast, "image_outputs")
        shape = (pixels.shape[:2].numel(),) if joined else pixels.shape[:2]
        return {**rest, argument: states[stays].view(*shape, -1, states.shape[-1])}

    def oracle(model, inputs, kept):
        with torch.no_grad():
            return real_rows(model(**fed(model, inputs, kept)).logits, inputs)

    return oracle


def _masked(layers, protected, by_hand=None):
    def oracle(model, inputs, kept):
        if by_hand is not None and len(set(kept.sum(dim=1).tolist())) == 1:
            return by_hand(model, inputs, kept)
        with torch.no_grad(), Masking(model, layers, "attention_mask", kept, protected):
            return real_rows(model(**inputs).logits, inputs)

    def generated(model, inputs, kept, options):
        with torch.no_grad(), Masking(model, layers, "attention_mask", kept, protected):
            return after_prompt(model, inputs, model.generate(**inputs, **options))

    return {"oracle": oracle, "generated": generated}


_common = {
    "adapter": "idefics",
    "inputs": prompts,
    "new_tokens": after_prompt,
    "several": {"two images in a row": partial(prompts, images=(2, 1))},
}
_plain = {**_common, "build": tiny_idefics, "tokens": (16, 16), "scorers": SCORERS}
_resampled = {
    **_common,
    "build": partial(tiny_idefics, resampler=True, norms=True),
    "tokens": (LATENTS, LATENTS),
    "scorers": tuple(name for name in SCORERS if name not in ("received-attention", "self-attention")),
}
_INSIDE = {"options": {"after": 1}, "tolerance": 1e-5}

FAMILIES = [
    Family(name="idefics", **_plain, **_masked(LAYERS, 1, _fed_by_hand("image_encoder_embeddings", 1)), gaps=1e-5),
    Family(name="idefics inside the decoder", **_plain, **_masked(LAYERS[1:], 1), **_INSIDE),
    Family(
        name="idefics with a resampler",
        **_resampled,
        **_masked(LAYERS, 0, _fed_by_hand("perceiver_embeddings", 0)),
        gaps=1e-5,
    ),
    Family(name="idefics with a resampler inside the decoder", **_resampled, **_masked(LAYERS[1:], 0), **_INSIDE),
]
