import pytest
import torch

from tokprune import Policy, apply
from tokprune.bench.oracle import EncoderCut, Gift, encode, kept_rows, new_tokens, oracle_generate
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.speed.choices import Recorder, gift_of, recorded
from tokprune.errors import InvalidValueError
from tokprune.selectors import TopK
from tokprune.testing import tiny_instructblip

OPTIONS = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}

QUERY = Policy("l2-norm", keep=3)
IMAGE = Policy("received-attention", keep=9, target="image", after=1)
MERGED_QUERY = Policy("l2-norm", keep=3, reduction="merge", attention="plain")
MERGED_IMAGE = Policy("received-attention", keep=9, target="image", after=1, reduction="merge", attention="plain")
STEPS = Policy("received-attention", keep=9, target="image", after="every")
MERGED_STEPS = Policy("received-attention", keep=9, target="image", after="every", reduction="merge", attention="plain")
WAYS = {
    "query": [QUERY],
    "stride": [Policy("stride", keep=3)],
    "query merged": [MERGED_QUERY],
    "image": [IMAGE],
    "image merged": [MERGED_IMAGE],
    "image in steps": [STEPS],
    "image merged in steps": [MERGED_STEPS],
    "both": [IMAGE, QUERY],
    "query first": [QUERY, IMAGE],
    "both merged": [MERGED_STEPS, MERGED_QUERY],
    "all kept": [Policy("received-attention", keep=1.0, target="image")],
}


def generate(model, inputs, **more):
    return new_tokens(model, inputs, model.generate(**inputs, **OPTIONS, **more))


def pruned_and_gift(model, inputs, policies, **more):
    answer, choices, places = recorded(model, policies, lambda: generate(model, inputs, **more))
    return answer, gift_of(model, inputs, choices, places)


@pytest.mark.parametrize("way", WAYS)
def test_the_oracle_says_what_the_pruned_model_says(model, way):
    inputs = random_inputs(model, 3)
    answer, gift = pruned_and_gift(model, inputs, WAYS[way])
    assert torch.equal(oracle_generate(model, inputs, gift, **OPTIONS), answer)
    if way != "all kept":
        assert not torch.equal(generate(model, inputs), answer), "or pruning would change nothing here"


ASKED = [Policy("self-attention", keep=3)]


@pytest.mark.parametrize("kind", tiny_instructblip.LANGUAGE_MODELS)
@pytest.mark.parametrize("way", ["query", "image", "both merged", "asked"])
def test_the_oracle_reads_the_question_as_instructblip_does(kind, way):
    model = tiny_instructblip.tiny_instructblip(kind)
    inputs = tiny_instructblip.prompts(kind, images=(1,) * 3, pads=(0, 3, 1))
    answer, gift = pruned_and_gift(model, inputs, {**WAYS, "asked": ASKED}[way])
    assert torch.equal(oracle_generate(model, inputs, gift, **OPTIONS), answer)
    other = {**inputs, "qformer_input_ids": inputs["qformer_input_ids"].roll(1, dims=0)}
    merged = gift.prefix is not None  # then the query tokens are handed over, whatever was asked
    assert torch.equal(oracle_generate(model, other, gift, **OPTIONS), answer) == merged


@pytest.mark.parametrize("way", ["query", "both merged"])
def test_the_oracle_knows_beams(model, way):
    inputs = random_inputs(model, 2)
    answer, gift = pruned_and_gift(model, inputs, WAYS[way], num_beams=3)
    assert torch.equal(oracle_generate(model, inputs, gift, num_beams=3, **OPTIONS), answer)
    assert not torch.equal(oracle_generate(model, inputs, gift, **OPTIONS), answer)


def test_what_the_oracle_is_handed_decides_what_it_says(model):
    inputs = random_inputs(model, 12)  # enough for one of them to answer otherwise
    answer, gift = pruned_and_gift(model, inputs, WAYS["both"])
    (cut,) = gift.cuts
    others = (inputs["input_ids"] == model.config.image_token_id).sum(1)[0] - 3 + torch.arange(3)
    wrong_rows = torch.cat([others.expand(12, -1), gift.rows[:, 3:]], dim=1)
    wrong_cut = EncoderCut(cut.after, torch.cat([cut.rows[:, :1], 65 - cut.rows[:, 1:].flip(1)], dim=1))
    late_cut = EncoderCut(cut.after + 1, cut.rows)
    for wrong in (
        Gift(wrong_rows, cuts=gift.cuts),
        Gift(gift.rows, cuts=(wrong_cut,)),
        Gift(gift.rows, cuts=(late_cut,)),
    ):
        assert not torch.equal(oracle_generate(model, inputs, wrong, **OPTIONS), answer)


def test_merged_tokens_are_handed_over(model):
    inputs = random_inputs(model, 3)
    answer, gift = pruned_and_gift(model, inputs, WAYS["both merged"])
    assert [cut.tokens.shape[1] for cut in gift.cuts] == [38, 10]  # 64 tokens to 9 in two steps, and [CLS]
    assert gift.prefix.shape[:2] == (3, 3)
    pruned_only = Gift(gift.rows, cuts=tuple(EncoderCut(cut.after, cut.rows) for cut in gift.cuts))
    assert not torch.equal(oracle_generate(model, inputs, pruned_only, **OPTIONS), answer)


def test_with_nothing_given_the_oracle_is_generate(model):
    inputs = random_inputs(model, 2)
    assert torch.equal(oracle_generate(model, inputs, Gift(), **OPTIONS), generate(model, inputs))
    every = torch.arange(inputs["input_ids"].shape[1]).expand(2, -1)
    assert torch.equal(oracle_generate(model, inputs, Gift(every), **OPTIONS), generate(model, inputs))


def test_layer_by_layer_is_the_encoder(model):
    pixels = random_inputs(model, 2)["pixel_values"]
    whole = EncoderCut(1, torch.arange(65).expand(2, -1))
    assert torch.equal(encode(model, pixels, [whole]), encode(model, pixels))


def test_preserved_positions_reach_a_decoder_only_oracle(opt, t5):
    inputs = random_inputs(opt, 2)
    answer, gift = pruned_and_gift(opt, inputs, [Policy("l2-norm", keep=3, positions="preserve")])
    assert torch.equal(oracle_generate(opt, inputs, gift, **OPTIONS), answer)
    assert not torch.equal(oracle_generate(opt, inputs, Gift(gift.rows), **OPTIONS), answer)
    with pytest.raises(InvalidValueError, match="encoder-decoder"):
        oracle_generate(t5, random_inputs(t5, 2), gift, **OPTIONS)


def test_a_policy_that_shortens_nothing_has_no_oracle(opt):
    with pytest.raises(InvalidValueError, match="makes nothing shorter; use reduction 'prune' or 'merge'"):
        pruned_and_gift(opt, random_inputs(opt, 1), [Policy(keep=3, reduction="mask")])


def test_kept_rows_refuses_what_it_cannot_hand_over():
    ids = torch.tensor([[4, 4, 7], [4, 4, 8]])
    assert kept_rows(ids, torch.tensor([[True, False], [False, True]]), 4).tolist() == [[0, 2], [1, 2]]
    with pytest.raises(InvalidValueError, match="same number"):
        kept_rows(ids, torch.tensor([[True, False], [True, True]]), 4)
    with pytest.raises(InvalidValueError, match="4 placeholders but 2"):
        kept_rows(ids, torch.tensor([[True, False]]), 4)


def test_recording_changes_nothing_and_leaves_the_model_unpruned(opt):
    inputs = random_inputs(opt, 2)
    with apply(opt, WAYS["both"]):
        wanted = generate(opt, inputs)
    unpruned = generate(opt, inputs)
    answer, choices, places = recorded(opt, WAYS["both"], lambda: generate(opt, inputs))
    assert torch.equal(answer, wanted)
    assert torch.equal(generate(opt, inputs), unpruned)
    assert places == [1]
    assert [choice.policy for choice in choices.values()] == WAYS["both"]
    assert {target: len(choice.steps) for target, choice in choices.items()} == {"image": 1, "query": 1}
    assert not any(module._forward_pre_hooks for module in opt.modules())


def test_a_recorder_is_the_selector_it_stands_for():
    recorder = Recorder(TopK())
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    assert torch.equal(recorder(scores, 2), TopK()(scores, 2))
    assert recorder.uniform == TopK().uniform
    assert repr(recorder) == repr(TopK())
    assert len(recorder.chosen) == 1


def test_a_policy_with_proportional_attention_has_no_oracle(opt):
    policy = Policy("l2-norm", keep=3, reduction="merge", attention="proportional")
    with pytest.raises(InvalidValueError, match=r"weighs merged tokens, .* take attention='plain'"):
        pruned_and_gift(opt, random_inputs(opt, 1), [policy])
