"""Proportional attention: a token that stands for s tokens counts as s of them, no more, no less, in every step.

What must hold is compared with models of transformers that are handed what stays, without tokprune. Each fault that is
planted here must break it: a property that nothing can break is none.
"""

import copy

import pytest
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

import tokprune
from tokprune.adapters.generations import Generations
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.stages import Weighing
from tokprune.adapters.upstream import cache_of
from tokprune.errors import UnsupportedCallError
from tokprune.outputs import answer_of

from .calls import CACHE
from .families import embedmerge, qformer
from .keeping import keeping
from .oracle import hand_fed
from .proportional import column_sizes, plain, told, weighed_by_hand
from .test_families import lent

OPT, T5 = qformer.FAMILIES[0], next(each for each in qformer.FAMILIES if "t5" in each.name)
LLAVA = embedmerge.FAMILIES[0]
WINDOWS = next(each for each in embedmerge.FAMILIES if each.name == "gemma3")


def far(found, expected):
    """How far an answer is from what is expected of it, where that says anything."""
    return (found - expected).abs()[~expected.isnan()].max().item()


def prompt_error(family):
    """How far a prompt's answer is from that of the kept tokens with masks made by hand."""
    model, inputs = lent(family), family.inputs()
    kept, policy = told(family)
    by_hand = plain(model)
    with weighed_by_hand(by_hand, column_sizes(family, inputs, kept)):
        expected = family.oracle(by_hand, inputs, kept)
    with tokprune.apply(model, **policy):
        return far(family.answer(model, inputs), expected)


def steps_error(family, copied=lambda cache: cache):
    """How far three steps after the prompt, with its cache, are from a pass of all of it with masks made by hand."""
    model, inputs = lent(family), family.inputs()
    kept, policy = told(family)
    new = torch.tensor([[21, 22, 23], [24, 25, 26]])
    whole = {
        name: pad(value, (0, 3)) if value.shape == inputs["input_ids"].shape else value
        for name, value in inputs.items()
    }
    whole["input_ids"][:, -3:], whole["attention_mask"][:, -3:] = new, 1
    by_hand = plain(model)
    with weighed_by_hand(by_hand, column_sizes(family, whole, kept)):
        expected = family.oracle(by_hand, whole, kept)[:, -3:]
    with tokprune.apply(model, **policy), torch.no_grad():
        cache, found = copied(cache_of(model(**inputs, use_cache=True))), []
        for step in range(3):
            mask = whole["attention_mask"][:, : inputs["input_ids"].shape[1] + step + 1]
            found.append(model(input_ids=new[:, step : step + 1], attention_mask=mask, **{CACHE: cache}).logits)
    return far(torch.cat(found, 1), expected)


def test_steps_with_the_cache_of_an_earlier_call_go_on_with_its_sizes():
    assert steps_error(LLAVA) < 5e-4
    assert steps_error(LLAVA, copied=copy.deepcopy) < 5e-4
    assert steps_error(WINDOWS) < 5e-4


WRONG = {
    "the bias is on the column to the right": lambda logs: (
        lambda sizes, seen, *total: logs(sizes, seen, *total).roll(1, 1)
    ),
    "sizes are those of the batch-mate": lambda logs: lambda sizes, seen, *total: logs(sizes, seen, *total).flip(0),
    "the logarithm has base 2": lambda logs: (
        lambda sizes, seen, *total: logs(sizes, seen, *total) / torch.log(torch.tensor(2.0))
    ),
    "the bias comes twice": lambda logs: lambda sizes, seen, *total: 2 * logs(sizes, seen, *total),
}


@pytest.mark.parametrize("family", [OPT, T5, LLAVA], ids=str)
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_bias_is_seen(family, fault, monkeypatch):
    assert prompt_error(family) < 5e-4
    monkeypatch.setattr(Sizes, "logs", WRONG[fault](Sizes.logs))
    assert prompt_error(family) > 1e-3


@pytest.mark.parametrize("family", [OPT, LLAVA], ids=str)
def test_two_taps_on_a_module_are_seen(family, monkeypatch):
    install = Weighing.install
    monkeypatch.setattr(Weighing, "install", lambda self, undo: [install(self, undo) for _ in range(2)])
    assert prompt_error(family) > 1e-3


def test_sizes_that_count_in_the_prompt_alone_are_seen(monkeypatch):
    weigh = Weighing.weigh
    assert steps_error(LLAVA) < 5e-4
    monkeypatch.setattr(
        Weighing, "weigh", lambda self, at, seen: weigh(self, at, seen) if seen.query.shape[2] > 1 else None
    )
    assert prompt_error(LLAVA) < 5e-4
    assert steps_error(LLAVA) > 1e-3


def test_sizes_that_a_cache_does_not_remember_are_seen(monkeypatch):
    recall = Generations.recall

    def forgetful(self, cache):
        prompt = copy.copy(recall(self, cache))
        prompt.__dict__["sizes"] = None
        return prompt

    monkeypatch.setattr(Generations, "recall", forgetful)
    assert steps_error(LLAVA) > 1e-3


@pytest.mark.parametrize("family", [OPT, LLAVA], ids=str)
def test_sizes_of_one_change_no_bit(family):
    model, inputs = lent(family), family.inputs()
    _, policy = told(family)
    pruned = {**policy, "reduction": "prune", "attention": None}
    with tokprune.apply(model, **pruned):
        expected = family.answer(model, inputs)
    with tokprune.apply(model, **{**policy, "reduction": type(policy["reduction"])(same=1.0)}):
        assert torch.equal(family.answer(model, inputs), expected)


def test_a_token_of_size_s_is_s_tokens_where_attention_goes_both_ways():
    """An identity, not an approximation: T5's encoder without positions, and the decoder that reads it."""
    model, inputs = copy.deepcopy(lent(T5)), T5.inputs()
    language_model = model.language_model
    language_model.get_encoder().block[0].layer[0].SelfAttention.relative_attention_bias.weight.data.zero_()
    kept, policy = told(T5)
    sizes, once = column_sizes(T5, inputs, kept).long(), hand_fed(model, inputs, kept)
    many = {
        name: pad_sequence(
            [row.repeat_interleave(times, 0) for row, times in zip(once[name], sizes, strict=True)], True
        )
        for name in ("inputs_embeds", "attention_mask")
    }
    read = {"decoder_input_ids": inputs["decoder_input_ids"]}
    with torch.no_grad():
        expected = language_model(**many, **read).logits
        unweighed = language_model(**{name: once[name] for name in many}, **read).logits
    with tokprune.apply(model, **policy):
        assert far(T5.answer(model, inputs), expected) < 1e-5 * expected.abs().max()
    assert far(unweighed, expected) > 1e-2


@pytest.mark.parametrize("family", [OPT, LLAVA], ids=str)
def test_batch_mates_do_not_matter(family):
    model, inputs = lent(family), family.inputs()
    kept, policy = told(family)
    with tokprune.apply(model, **policy):
        together = family.answer(model, inputs)
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        begin = int(inputs["attention_mask"][row].argmax())  # without the padding in front
        for name in alone:
            if name != "pixel_values" and family is LLAVA:
                alone[name] = alone[name][:, begin:]
        options = {**policy, **keeping(kept[row : row + 1], reduction=policy["reduction"])}
        with tokprune.apply(model, **options):
            found = family.answer(model, alone)
        real = alone["attention_mask"][0].bool()
        assert (found[0] - together[row, -found.shape[1] :])[real].abs().max() < 5e-4


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_implementation_may_change_while_a_policy_sits(implementation):
    model, inputs = copy.deepcopy(lent(LLAVA)), LLAVA.inputs()
    _, policy = told(LLAVA)
    with tokprune.apply(model, **policy):
        expected = LLAVA.answer(model, inputs)
        model.set_attn_implementation(implementation)
        assert far(LLAVA.answer(model, inputs), expected) < 1e-4


def test_checkpointed_layers_are_refused():
    model, inputs = copy.deepcopy(lent(OPT)), OPT.inputs()
    model.train()
    model.gradient_checkpointing_enable()
    _, policy = told(OPT)
    with (
        tokprune.apply(model, **policy),
        pytest.raises(UnsupportedCallError, match=r"checkpointing .* attention='plain'"),
    ):
        model(**inputs)
    with tokprune.apply(model, **{**policy, "attention": "plain"}):
        model(**inputs)


def test_a_t5_decodes_from_what_its_encoder_gave_earlier():
    model, inputs = lent(T5), T5.inputs()
    kept, policy = told(T5)
    mask = hand_fed(model, inputs, kept)["attention_mask"]
    read = {"decoder_input_ids": inputs["decoder_input_ids"], "attention_mask": mask}
    with tokprune.apply(model, **policy), torch.no_grad():
        whole = model(**inputs)
        given = whole.language_model_outputs.encoder_last_hidden_state
        again = model.language_model(encoder_outputs=(given,), **read).logits
        assert torch.equal(again, answer_of(whole))
        with pytest.raises(UnsupportedCallError, match="copied, or made before"):
            model.language_model(encoder_outputs=(given.clone(),), **read)
        text = {"input_ids": torch.tensor([[20, 21, 22]]), "do_sample": False, "num_beams": 2, "max_new_tokens": 3}
        found = model.language_model.generate(**text)
    assert torch.equal(found, model.language_model.generate(**text))


@pytest.mark.parametrize(
    "options",
    [{"cache_implementation": "static"}, {"use_cache": False}, {"prompt_lookup_num_tokens": 2}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("family", [LLAVA, WINDOWS], ids=str)
def test_other_ways_to_go_on_write_the_same_tokens(family, options):
    model, inputs = lent(family), {name: value[1:] for name, value in family.inputs().items()}
    greedy = {"max_new_tokens": 6, "do_sample": False}
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction="merge"), torch.no_grad():
        expected = model.generate(**inputs, **greedy)
        assert torch.equal(model.generate(**inputs, **greedy, **options), expected)
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction="merge", attention="plain"), torch.no_grad():
        assert not torch.equal(model.generate(**inputs, **greedy), expected)
