"""What else a call can return, under every attention implementation; and nothing about attention is switched."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts, with_attention

from .calls import MODES, answer, decoder, forward, generate, logits
from .keeping import keeping
from .oracle import hand_fed, oracle_answer, oracle_logits, some_kept


def implementations(model):
    """Attention implementation of every config in the model."""
    return {name: m.config._attn_implementation for name, m in model.named_modules() if hasattr(m, "config")}


def lengths(tensors):
    return {tensor.shape[1] for tensor in tensors}


def language_states(output, kind):
    inner = output.language_model_outputs
    return inner.hidden_states if kind == "opt" else inner.encoder_hidden_states


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_no_attention_implementation_is_switched(fresh, inputs, attention):
    model = with_attention(fresh, attention)
    before = implementations(model)
    assert set(before.values()) == {attention}
    with tokprune.apply(model, scorer="catp-weighted", keep=3):
        assert implementations(model) == before
        logits(model, inputs)
        assert implementations(model) == before
    assert implementations(model) == before


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_each_attention_implementation_prunes_as_by_hand(fresh, inputs, attention):
    model, kept = with_attention(fresh, attention), some_kept(2, 3)
    fed = hand_fed(model, inputs, kept)
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, fed))
        output = generate(model, inputs, **MODES["beams"])
    assert torch.equal(answer(model, inputs, output), oracle_answer(model, fed, **MODES["beams"]))


def test_eager_and_sdpa_keep_the_same_tokens(fresh, inputs):
    kept = []
    for attention in ("eager", "sdpa"):
        model = with_attention(fresh, attention)
        with tokprune.apply(model, keep=3) as handle:
            logits(model, inputs)
        kept.append(handle.report.kept)
    assert torch.equal(*kept)


def test_hidden_states_are_those_of_the_shorter_sequence(fresh, kind, inputs):
    kept = some_kept(2, 3)
    fed = hand_fed(fresh, inputs, kept)
    fed.pop("input_ids", None)
    with torch.no_grad():
        bare = fresh.language_model(**fed, **decoder(fresh, inputs), output_hidden_states=True)
    expected = bare.hidden_states if kind == "opt" else bare.encoder_hidden_states
    with tokprune.apply(fresh, **keeping(kept)):
        output = forward(fresh, inputs, output_hidden_states=True)
    states = language_states(output, kind)
    assert lengths(states) == {9}
    assert all(torch.equal(a, b) for a, b in zip(states, expected, strict=True))


def test_attentions_of_an_eager_model_come_out_for_the_shorter_sequence(fresh, kind, inputs):
    model = with_attention(fresh, "eager")
    with tokprune.apply(model, keep=3) as handle:
        output = forward(model, inputs, output_attentions=True)
    inner = output.language_model_outputs
    maps = inner.attentions if kind == "opt" else inner.encoder_attentions
    assert {tuple(each.shape[-2:]) for each in maps} == {(9, 9)}
    assert torch.allclose(maps[0][0].sum(dim=-1), torch.ones(4, 9))
    assert handle.report.counts.tolist() == [3, 3]


def test_asking_for_attentions_does_not_change_what_is_kept(fresh, inputs):
    model = with_attention(fresh, "eager")
    with tokprune.apply(model, keep=3) as handle:
        expected, kept = logits(model, inputs), handle.report.kept
        assert torch.equal(logits(model, inputs, output_attentions=True, output_hidden_states=True), expected)
        assert torch.equal(handle.report.kept, kept)


@pytest.mark.parametrize("mode", ["greedy", "beams", "two samples"])
def test_a_generation_output_keeps_its_type_and_has_the_oracles_scores(fresh, inputs, mode):
    kept = some_kept(2, 3)
    options = {**MODES[mode], "return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True}
    plain = generate(fresh, inputs, **options)
    expected = generate(fresh.language_model, hand_fed(fresh, inputs, kept), **options)
    with tokprune.apply(fresh, **keeping(kept)):
        output = generate(fresh, inputs, **options)
        bare = generate(fresh, inputs, **MODES[mode])
    assert type(output) is type(plain)
    assert list(output) == list(plain)
    assert torch.equal(output.sequences, bare)
    assert all(torch.equal(a, b) for a, b in zip(output.scores, expected.scores, strict=True))


def test_without_return_dict_a_forward_gives_the_same_tuple(model, kind):
    inputs = prompts(kind)
    plain = forward(model, inputs, return_dict=False)
    with tokprune.apply(model, keep=3):
        pruned, named = forward(model, inputs, return_dict=False), forward(model, inputs)
    assert len(pruned) == len(plain)
    assert torch.equal(pruned[0], named.logits)
