"""Who votes inside the language model, and what is counted, against attention that the model computes step by step."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_inside import IMAGE, TOKENS, prompts, tiny_inside

from .inside import Inside, built, logits, pruned
from .oracle import best


def maps(model, inputs):
    """Probabilities of every layer `[row head query key]`, from eager attention."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    return found


def shown(inputs):
    """For each image its row and the places of its tokens."""
    found = []
    for row, ids in enumerate(inputs["input_ids"]):
        places = (ids == IMAGE).nonzero()[:, 0]
        found += [(row, own) for own in places.split(TOKENS) if len(own)]
    return found


def voters(inputs, row):
    """Places of the words of one row, in their order."""
    ids = inputs["input_ids"][row]
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))[row]
    return ((ids != IMAGE) & (real == 1)).nonzero()[:, 0]


BATCHES = {
    "padding": prompts,
    "several images": lambda: prompts((2, 1)),
    "no mask": lambda: {k: v for k, v in prompts(pads=(0, 0)).items() if k != "attention_mask"},
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_last_word_votes_by_its_attention_in_the_layer_before_the_cut(kind, batch):
    model, inputs = built(kind), BATCHES[batch]()
    found = maps(model, inputs)
    for after, options, layers in (
        (2, "", [1]),
        (1, "", [0]),
        (3, "layers=first", [0]),
        (3, "layers=all", [0, 1, 2]),
        (2, "voters=all", [1]),
    ):
        expected = []
        for row, places in shown(inputs):
            who = voters(inputs, row) if "voters" in options else voters(inputs, row)[-1:]
            expected.append(sum(found[layer][row][:, who][:, :, places].sum(dim=(0, 1)) for layer in layers))
        expected = torch.stack(expected)
        with pruned(
            model, scorer=f"text-attention:{options}" if options else "text-attention", after=after, keep=5
        ) as h:
            logits(model, inputs)
        assert torch.allclose(h.report.scores, expected, atol=1e-5), options
        assert torch.equal(h.report.kept, best(expected.tolist(), 5))


def test_the_default_is_behind_the_second_layer():
    model, inputs = built(), prompts()
    kept = []
    for options in ({}, {"after": 2}):
        with tokprune.apply(model, scorer="text-attention", keep=5, **options) as handle:
            logits(model, inputs)
        kept.append(handle.report)
    assert torch.equal(kept[0].scores, kept[1].scores)
    assert kept[0].length_after == 14


def test_votes_are_told_of_every_word_in_order_and_of_no_padding():
    model, inputs = built(), prompts((2, 1))
    signal = tokprune.observe(model, inputs, ("cross_attention", "text", "tokens"), adapter=Inside())
    assert signal.shape == (3, TOKENS)
    found = maps(model, inputs)
    for image, (row, places) in enumerate(shown(inputs)):
        who = voters(inputs, row)
        for layer, votes in enumerate(signal.cross_attention):
            expected = found[layer][row][:, who][:, :, places]
            padding = votes.by_head.shape[2] - len(who)
            assert torch.allclose(votes.by_head[image, :, padding:], expected, atol=1e-5)
            assert not votes.by_head[image, :, :padding].any()
            cast = torch.ones(votes.shape[1]) if votes.weights is None else votes.weights[image]
            assert cast.view(votes.heads, -1).tolist() == [[0.0] * padding + [1.0] * len(who)] * votes.heads
        assert torch.equal(signal.text.mask[image].nonzero()[:, 0], who)
    assert [votes.layer for votes in signal.cross_attention] == [0, 1]


def test_padding_behind_the_text_does_not_vote():
    model, inputs = built(), prompts((1,), (0,))
    padded = {
        "pixel_values": inputs["pixel_values"],
        "input_ids": torch.nn.functional.pad(inputs["input_ids"], (0, 3)),
        "attention_mask": torch.nn.functional.pad(inputs["attention_mask"], (0, 3)),
    }
    with pruned(model, keep=5) as handle:
        expected = logits(model, inputs)
        scores = handle.report.scores
        assert torch.allclose(logits(model, padded)[:, :-3], expected, atol=1e-5)
        assert torch.allclose(handle.report.scores, scores, atol=1e-6)


def test_a_prompt_that_ends_with_its_image_lets_the_last_image_token_vote():
    model, inputs = built(), prompts((1,), (0,), after=0)
    expected = maps(model, inputs)[1][0, :, -1, -TOKENS:].sum(dim=0)
    with pruned(model, keep=5) as handle:
        logits(model, inputs)
    assert torch.allclose(handle.report.scores[0], expected, atol=1e-5)


def test_the_vectors_are_what_leaves_the_layer():
    model, inputs, left = built(), prompts(), []
    hook = model.model.language_model.layers[1].register_forward_hook(
        lambda module, args, output: left.append(output[0] if isinstance(output, tuple) else output)
    )
    tokens = tokprune.observe(model, inputs, ("tokens",), adapter=Inside()).tokens
    hook.remove()
    expected = torch.stack([left[0][row, places] for row, places in shown(inputs)])
    assert torch.equal(tokens, expected)


def test_attention_is_far_from_uniform():
    for kind in ("llama", "qwen3"):
        signal = tokprune.observe(built(kind), prompts(), ("cross_attention",), adapter=Inside(), after=3)
        for votes in signal.cross_attention:
            last = votes.of_voters(votes.shape[1] // votes.heads - 1, votes.shape[1] // votes.heads).by_head
            share = last / last.sum(dim=-1, keepdim=True)
            entropy = -(share * share.log()).sum(dim=-1).mean()
            assert entropy < 0.9 * torch.tensor(float(TOKENS)).log()


def test_another_question_can_keep_other_tokens():
    model, inputs = tiny_inside(), prompts()
    asked = {**inputs, "input_ids": inputs["input_ids"].clone()}
    asked["input_ids"][:, -1] = 55
    kept = []
    for given in (inputs, asked):
        with pruned(model, keep=5) as handle:
            logits(model, given)
        kept.append(handle.report.kept)
    assert not torch.equal(*kept)
