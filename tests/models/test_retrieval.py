"""BLIP-2 for retrieval: a shorter index, votes of the image's run alone, and what the heads cannot do."""

from functools import partial

import pytest
import torch

import tokprune
from tokprune import AdapterError
from tokprune.testing.tiny_blip2 import QUERIES, with_attention
from tokprune.testing.tiny_blip2_retrieval import prompts, tiny_blip2_retrieval

from .oracle import best, borda_points
from .traces import traces

MATCHING = {"use_image_text_matching_head": True}


@pytest.fixture(scope="module")
def built():
    return tiny_blip2_retrieval()


@pytest.fixture
def model(built):
    before = traces(built)
    yield built
    assert traces(built) == before


def answered(model, inputs):
    with torch.no_grad():
        return model(**inputs)


def maps(model, inputs, kind):
    """The Q-Former's probabilities in the run that reads images, layer by layer, in eager mode."""
    eager, seen = with_attention(model, "eager"), {}

    def note(index, module, args, output):
        seen.setdefault(index, output[1])

    for index, layer in enumerate(eager.qformer.encoder.layer):
        attention = getattr(layer, kind, None)
        if attention is not None:
            attention.attention.register_forward_hook(partial(note, index))
    answered(eager, inputs)
    return list(seen.values())


def test_an_image_has_as_many_rows_in_the_index_as_it_keeps(model):
    inputs = prompts()
    whole = answered(model, inputs)
    with tokprune.apply(model, keep=3) as handle:
        found = answered(model, inputs)
    assert found.image_embeds.shape == (2, 3, 16)
    assert torch.allclose(found.image_embeds.flatten(0, 1), whole.image_embeds[handle.report.kept], atol=1e-6)
    assert torch.equal(found.text_embeds, whole.text_embeds)
    assert (found.logits_per_image <= whole.logits_per_image + 1e-6).all()
    assert (handle.report.length_before, handle.report.length_after) == (QUERIES, 3)


@pytest.mark.parametrize("head", [{}, MATCHING], ids=["contrastive", "matching"])
def test_catp_counts_what_the_image_tokens_prefer(model, head):
    inputs = {**prompts(), **head}
    with tokprune.apply(model, scorer="catp-vote", keep=3) as handle:
        answered(model, inputs)
    points = borda_points(maps(model, inputs, "crossattention"))
    assert torch.equal(handle.report.kept, best(points, 3))
    assert torch.allclose(handle.report.scores, torch.tensor(points))


def test_a_text_that_the_same_layers_read_later_has_no_vote(model):
    inputs = prompts()
    expected = sum(layer.sum(dim=(1, 2)) for layer in maps(model, inputs, "attention"))
    assert expected.shape == (2, QUERIES)
    with tokprune.apply(model, scorer="self-attention", keep=3) as handle:
        answered(model, inputs)
        assert torch.allclose(handle.report.scores, expected, rtol=1e-4)
        answered(model, {**inputs, "input_ids": inputs["input_ids"].flip(0)})
        assert torch.allclose(handle.report.scores, expected, rtol=1e-4)


def test_a_text_that_is_matched_votes_and_its_padding_does_not(model):
    inputs = {**prompts(), **MATCHING}
    real = inputs["attention_mask"].bool()
    layers = maps(model, inputs, "attention")
    expected = torch.stack(
        [sum(layer[image][:, real[image], :QUERIES].sum(dim=(0, 1)) for layer in layers) for image in range(2)]
    )
    with tokprune.apply(model, scorer="self-attention", keep=3) as handle:
        answered(model, inputs)
    assert torch.allclose(handle.report.scores, expected, rtol=1e-4)


@pytest.mark.parametrize("head", [{}, MATCHING], ids=["contrastive", "matching"])
def test_tokens_are_the_query_tokens_in_front_of_the_head(model, head):
    entered = []
    reader = model.itm_head if head else model.vision_projection
    hook = reader.register_forward_pre_hook(lambda module, args: entered.append(args[0].detach()))
    answered(model, {**prompts(), **head})
    hook.remove()
    assert torch.equal(tokprune.observe(model, {**prompts(), **head}).tokens, entered[0])


def test_weights_of_the_voters_come_from_the_encoder(model):
    inputs = prompts()
    eager, seen = with_attention(model, "eager"), []
    eager.vision_model.encoder.layers[-1].self_attn.register_forward_hook(lambda m, a, output: seen.append(output[1]))
    answered(eager, inputs)
    weights = seen[0].sum(dim=(1, 2)).softmax(dim=1)
    with tokprune.apply(model, scorer="catp-weighted", keep=3) as handle:
        answered(model, inputs)
    points = borda_points(maps(model, inputs, "crossattention"), weights)
    assert torch.allclose(handle.report.scores, torch.tensor(points), rtol=1e-4)


def test_one_image_is_compared_with_several_texts(model):
    inputs = prompts(images=1, pads=(0, 1, 2))
    with tokprune.apply(model, keep=2) as handle:
        assert answered(model, inputs).logits_per_image.shape == (1, 3)
    assert handle.report.kept.shape == (1, QUERIES)


def test_merged_query_tokens_are_those_merged_by_hand(model):
    inputs, entered = prompts(), []
    with torch.no_grad():
        for keep in (QUERIES, 2):
            with tokprune.apply(model, scorer="first", keep=keep, reduction="merge") as handle:
                hook = model.vision_projection.register_forward_pre_hook(lambda m, args: entered.append(args[0]))
                model(**inputs)
                hook.remove()
    whole, merged = entered
    for image in range(2):
        groups = {0: [0], 1: [1]}
        for token in range(2, QUERIES):
            angles = [torch.cosine_similarity(whole[image, token], whole[image, k], dim=0) for k in groups]
            groups[int(angles[1] > angles[0])].append(token)
        expected = torch.stack([whole[image, members].mean(dim=0) for members in groups.values()])
        assert torch.allclose(merged[image], expected, atol=1e-5)
        assert handle.report.sizes[image, :2].tolist() == [len(members) for members in groups.values()]


def test_a_tuple_is_answered_as_well(model):
    inputs = prompts()
    with tokprune.apply(model, keep=3):
        assert torch.equal(answered(model, {**inputs, "return_dict": False})[0], answered(model, inputs)[0])


def test_both_targets_act_together(model):
    policies = [tokprune.Policy("received-attention", keep=4, target="image"), tokprune.Policy(keep=3)]
    with tokprune.apply(model, policies) as handles:
        assert answered(model, prompts()).image_embeds.shape == (2, 3, 16)
    assert [report.length_after for report in handles.reports.values()] == [5, 3]


class _Reader:
    needs = ("text",)

    def __call__(self, signal):
        raise AssertionError


REFUSED = {
    "hidden tokens": ({"reduction": "mask"}, "what reads them takes no mask"),
    "different numbers": ({"selector": "top-p"}, "no mask to fill the gaps"),
    "a layer": ({"after": 2}, "after=2 means nothing here"),
    "a prompt": ({"scorer": _Reader()}, "needs 'text'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_anything_changes(model, case):
    options, message = REFUSED[case]
    with pytest.raises(AdapterError, match=message):
        tokprune.apply(model, **options)


def test_the_text_encoder_alone_has_no_adapter():
    from transformers import Blip2Config, Blip2TextModelWithProjection

    config = Blip2Config(qformer_config={"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1})
    with torch.device("meta"):
        text = Blip2TextModelWithProjection(config)
    with pytest.raises(AdapterError, match="no adapter"):
        tokprune.apply(text)
