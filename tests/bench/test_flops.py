"""The counter against arithmetic written out by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tokprune.bench.flops import FlopCounter
from tokprune.errors import AdapterError

WIDTH, LAYERS, QUERIES, IMAGE, PATCHES, PATCH_VALUES = 32, 2, 8, 65, 64, 3 * 8 * 8


def block(tokens, ff, width=WIDTH, inner=WIDTH):
    """Self-attention and feed-forward of one layer; a multiply-add counts two."""
    projections = 4 * 2 * tokens * width * inner
    attention = 2 * 2 * tokens * tokens * inner
    return projections + attention + 2 * 2 * tokens * width * ff


def cross(queries, keys):
    return 2 * 2 * queries * WIDTH**2 + 2 * 2 * keys * WIDTH**2 + 2 * 2 * queries * keys * WIDTH


def test_image_encoder_and_connector(model):
    flops = FlopCounter(model, 5).count(3)
    assert flops.encoder == 2 * PATCHES * PATCH_VALUES * WIDTH + LAYERS * block(IMAGE, 4 * WIDTH)
    text = model.config.text_config.hidden_size
    layer = block(QUERIES, 4 * WIDTH) + cross(QUERIES, IMAGE)
    assert flops.connector == LAYERS * layer + 2 * QUERIES * WIDTH * text


@pytest.mark.parametrize("kept", [0, 2, 8])
def test_opt_prefill(opt, kept):
    words = opt.config.text_config.vocab_size
    assert FlopCounter(opt, 5).count(kept).prefill == LAYERS * block(kept + 5, 4 * WIDTH) + 2 * WIDTH * words


@pytest.mark.parametrize("kept", [0, 2, 8])
def test_t5_prefill(t5, kept):
    length, words = kept + 5, t5.config.text_config.vocab_size
    encoder = LAYERS * block(length, 64)
    decoder = LAYERS * (block(1, 64) + cross(1, length))
    assert FlopCounter(t5, 5).count(kept).prefill == encoder + decoder + 2 * WIDTH * words


def test_all_stages_together_are_the_whole_forward(opt):
    length = QUERIES + 5
    ids = torch.full((1, length), 7)
    ids[0, :QUERIES] = opt.config.image_token_id
    opt.requires_grad_(False).set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        opt(pixel_values=torch.zeros(1, 3, 64, 64), input_ids=ids, attention_mask=torch.ones_like(ids))
    opt.set_attn_implementation("sdpa")
    other_logits = (length - 1) * 2 * WIDTH * opt.config.text_config.vocab_size  # `generate` wants the last one only
    assert counter.get_total_flops() - other_logits == FlopCounter(opt, 5).count(None).total


def test_other_models_are_refused():
    with pytest.raises(AdapterError, match="BLIP-2-like"):
        FlopCounter(torch.nn.Linear(1, 1))
