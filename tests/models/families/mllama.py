"""Mllama: image tokens leave in front of all of its cross-attention layers, or behind the first."""

from functools import partial

import torch
from transformers.models.mllama.modeling_mllama import _prepare_cross_attention_mask

from tokprune.testing.tiny_mllama import CROSSING, prompts, tiny_mllama

from ..masking import Masking
from .family import Family, after_prompt

SCORERS = (
    "distinct",
    "first",
    "l2-norm",
    "random",
    "stride",
    "text-attention",
    "received-attention",
    "self-attention",
    "catp-vote",
    "text-attention",
    "focus",
)
LAYERS = [f"model.language_model.layers.{layer}.cross_attn" for layer in CROSSING]


def real_rows(logits, inputs):
    """Logits with NaN where the prompt is padding."""
    return logits.masked_fill(inputs["attention_mask"][..., None] == 0, torch.nan)


def _fed_by_hand(model, inputs, kept):
    """The language model reads states that were shortened by hand, and masks made for as many tokens."""
    inner, count = model.model, int(kept[0].sum()) + 1
    with torch.no_grad():
        seen = [inputs[name] for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")]
        states = inner.multi_modal_projector(inner.vision_model(*seen).last_hidden_state).flatten(0, 2)
        stays = torch.nn.functional.pad(kept, (1, 0), value=True)
        states = states[stays].view(len(states), count, -1)
        mask, rows = _prepare_cross_attention_mask(inputs["cross_attention_mask"], count, states.dtype)
        hidden = inner.language_model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            cross_attention_states=states,
            cross_attention_mask=mask,
            full_text_row_masked_out_mask=rows,
        ).last_hidden_state
        return real_rows(model.lm_head(hidden), inputs)


def _masked(layers, by_hand=False):
    def oracle(model, inputs, kept):
        if by_hand and len(set(kept.sum(dim=1).tolist())) == 1:
            return _fed_by_hand(model, inputs, kept)
        with torch.no_grad(), Masking(model, layers, "attention_mask", kept, 1):
            return real_rows(model(**inputs).logits, inputs)

    def generated(model, inputs, kept, options):
        with torch.no_grad(), Masking(model, layers, "attention_mask", kept, 1):
            return after_prompt(model, inputs, model.generate(**inputs, **options))

    return {"oracle": oracle, "generated": generated}


_common = {
    "adapter": "mllama",
    "build": tiny_mllama,
    "inputs": prompts,
    "tokens": (16, 16),
    "scorers": SCORERS,
    "new_tokens": after_prompt,
    "several": {
        "two images in a row": partial(prompts, images=(2, 1)),
        "one row": partial(prompts, images=(1,), pads=(0,)),
    },
}

FAMILIES = [
    Family(name="mllama", **_common, **_masked(LAYERS, by_hand=True), gaps=1e-5),
    Family(
        name="mllama inside the language model",
        **_common,
        **_masked(LAYERS[1:]),
        options={"after": 1},
        tolerance=1e-5,
    ),
]
