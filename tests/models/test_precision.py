"""float32, bfloat16 and float16, with the Q-Former in float32 where transformers keeps it so."""

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

import tokprune
from tokprune.testing.tiny_blip2 import LANGUAGE_MODELS, prompts, tiny_blip2

from .calls import MODES, answer, generate, logits
from .oracle import catp_kept, hand_fed, oracle_answer, oracle_logits

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints: language model -> folder."""
    saved = {}
    for kind in LANGUAGE_MODELS:
        saved[kind] = tmp_path_factory.mktemp(kind)
        tiny_blip2(kind).save_pretrained(saved[kind])
    return saved


@pytest.fixture
def loaded(folders, kind, dtype):
    return Blip2ForConditionalGeneration.from_pretrained(folders[kind], dtype=DTYPES[dtype]).eval()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_loaded_in_any_precision_is_pruned_bitwise_as_by_hand(loaded, inputs, dtype):
    kept = catp_kept(loaded, inputs, 3)
    fed = hand_fed(loaded, inputs, kept)
    expected = oracle_logits(loaded, inputs, fed)
    assert fed["inputs_embeds"].dtype == expected.dtype == DTYPES[dtype]
    before = logits(loaded, inputs)
    with tokprune.apply(loaded, scorer="catp-vote", keep=3) as handle:
        assert torch.equal(logits(loaded, inputs), expected)
        for mode in ("greedy", "beams", "sampling"):
            output = answer(loaded, inputs, generate(loaded, inputs, **MODES[mode]))
            assert torch.equal(output, oracle_answer(loaded, fed, **MODES[mode]))
    assert torch.equal(handle.report.kept, kept)
    assert handle.report.scores.dtype == torch.float32
    assert torch.equal(logits(loaded, inputs), before)


@pytest.mark.parametrize("dtype", ["float16"])
def test_the_q_former_of_a_half_precision_model_stays_in_float32(loaded, inputs, dtype):
    parameter = loaded.qformer.encoder.layer[0].crossattention.attention.query.weight
    assert parameter.dtype == torch.float32
    with tokprune.apply(loaded, keep=1.0):
        logits(loaded, inputs)
    assert parameter.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_cast_by_hand_is_pruned_too(fresh_either, laid, dtype):
    cast = fresh_either.to(DTYPES[dtype])
    inputs = {**laid, "pixel_values": laid["pixel_values"].to(DTYPES[dtype])}
    before = logits(cast, inputs)
    for scorer in ("catp-vote", "self-attention"):
        with tokprune.apply(cast, scorer=scorer, keep=1.0):
            assert torch.equal(logits(cast, inputs), before)
        with tokprune.apply(cast, scorer=scorer, keep=3) as handle:
            found = logits(cast, inputs)
        fed = hand_fed(cast, inputs, handle.report.kept)
        assert fed["inputs_embeds"].dtype == DTYPES[dtype]
        assert torch.equal(found, oracle_logits(cast, inputs, fed))
        assert handle.report.scores.dtype == torch.float32
        if scorer == "catp-vote":  # rounding differs between attention implementations
            assert (handle.report.kept == catp_kept(cast, inputs, 3)).float().mean() > 0.7
    assert torch.equal(logits(cast, inputs), before)


@pytest.mark.parametrize("reduction", ["merge", "mask"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_reductions_run_in_half_precision(loaded, kind, dtype, reduction):
    inputs = prompts(kind)
    with tokprune.apply(loaded, keep=3, reduction=reduction, positions="preserve"):
        assert logits(loaded, inputs).isfinite().all()
        assert generate(loaded, inputs).shape[0] == 2
