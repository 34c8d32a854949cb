"""Code of the user that `generate` runs sees what it sees unpruned: the whole prompt, and new tokens behind it."""

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MaxLengthCriteria,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from tokprune.errors import UnsupportedCallError

from .families.every import GENERATING
from .families.family import GENERATE
from .test_families import applied, chosen, lent

NEW = 4
SHORTER = [
    family
    for family in GENERATING
    if not family.options and family.new_tokens is not None and family.adapter not in ("blip", "vision-encoder-decoder")
]
"""Families whose language model may get a shorter prompt than `generate` was given."""
NAMED = {family.name: family for family in SHORTER}
FEW = [NAMED[name] for name in ("llava", "qwen2-vl", "blip2 with opt, query tokens")]
"""One in front of the language model, one with grid positions, one that delegates."""


class Seen:
    """Keeps what each piece of user code is shown, step by step."""

    def __init__(self):
        self.processed, self.judged, self.allowed, self.put, self.ended = [], [], [], [], 0

    def processor(self, ids, scores):
        self.processed.append(ids)
        return scores

    def allow(self, row, ids):
        self.allowed.append((row, ids))
        return list(range(5, 60))

    def options(self, streams):
        seen = self

        class Criterion(StoppingCriteria):
            def __call__(self, ids, scores, **kwargs):
                seen.judged.append(ids)
                return torch.zeros(len(ids), dtype=torch.bool)

        class Streamer:
            def put(self, value):
                seen.put.append(value)

            def end(self):
                seen.ended += 1

        given = {
            "logits_processor": LogitsProcessorList([self.processor]),
            "stopping_criteria": [Criterion()],
            "prefix_allowed_tokens_fn": self.allow,
        }
        return {**given, "streamer": Streamer()} if streams else given


def generate(model, inputs, **options):
    torch.manual_seed(7)
    with torch.no_grad():
        return model.generate(**inputs, **{"max_new_tokens": NEW, "eos_token_id": None, "do_sample": False, **options})


@pytest.fixture(params=SHORTER, ids=str)
def family(request):
    """A family."""
    return request.param


@pytest.fixture
def model(family):
    """Its model, shared."""
    return lent(family)


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        pytest.param(family, mode, marks=[] if mode == "greedy" or family in FEW else [pytest.mark.slow])
        for family in SHORTER
        for mode in GENERATE
    ],
    ids=str,
)
def test_all_code_of_the_user_sees_the_whole_prompt(family, model, mode):
    _, policy = chosen(family)
    inputs, streams = family.inputs(), mode != "beams"
    before, after = Seen(), Seen()
    generate(model, inputs, **GENERATE[mode], **before.options(streams))
    with applied(model, family, **policy):
        output = generate(model, inputs, **GENERATE[mode], **after.options(streams))
    length = inputs["input_ids"].shape[1]
    for name in ("processed", "judged", "put"):
        was, now = getattr(before, name), getattr(after, name)
        assert [each.shape for each in now] == [each.shape for each in was], name
        prompts = [(one, two) for one, two in zip(was, now, strict=True) if one.dim() == 2]
        assert all(torch.equal(one[:, :length], two[:, :length]) for one, two in prompts), name
    assert [(row, len(ids)) for row, ids in after.allowed] == [(row, len(ids)) for row, ids in before.allowed]
    assert all(torch.equal(ids[:length], output[0, :length]) for row, ids in after.allowed if row == 0)
    assert after.ended == before.ended
    if streams:
        assert all(torch.equal(ids, output[:, : ids.shape[1]]) for ids in after.processed)
        assert torch.equal(torch.cat([after.put[0], *(each[:, None] for each in after.put[1:])], dim=1), output)


def test_where_nothing_is_dropped_all_is_the_same(family, model):
    inputs, before, after = family.inputs(), Seen(), Seen()
    expected = generate(model, inputs, **before.options(True))
    with applied(model, family, scorer="first", keep=1.0):
        assert torch.equal(generate(model, inputs, **after.options(True)), expected)
    for name in ("processed", "judged", "put"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(after, name), getattr(before, name), strict=True))


few = pytest.mark.parametrize("family", FEW, ids=str)


@few
def test_stopping_by_what_is_new_stops_where_it_should(family, model):
    inputs = family.inputs()
    length = inputs["input_ids"].shape[1]
    with applied(model, family, scorer="first", keep=3):
        stop = StoppingCriteriaList([lambda ids, scores: torch.full((len(ids),), ids[:, length:].shape[1] >= 3)])
        output = generate(model, inputs, max_new_tokens=15, stopping_criteria=stop)
        limited = generate(model, inputs, max_new_tokens=15, stopping_criteria=[MaxLengthCriteria(length + 2)])
    assert output.shape[1] == length + 3
    assert limited.shape[1] == length + 2


@few
def test_a_penalty_that_ignores_the_prompt_ignores_all_of_it(family, model):
    kept, policy = chosen(family)
    inputs = family.inputs()
    length = inputs["input_ids"].shape[1]
    given = {"logits_processor": [RepetitionPenaltyLogitsProcessor(30.0, prompt_ignore_length=length)]}
    expected = family.generated(
        model,
        inputs,
        kept,
        {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "logits_processor": _on_new_tokens(30.0)},
    )
    with applied(model, family, **policy):
        found = generate(model, inputs, max_new_tokens=8, **given)
        plain = generate(model, inputs, max_new_tokens=8)
    assert torch.equal(found[:, length:], expected)
    assert family is FEW[1] or not torch.equal(found, plain)  # Qwen's tiny model does not repeat itself


def _on_new_tokens(penalty):
    """The same penalty in an oracle, whose prompt has another length: what its first step sees."""
    prompts = []

    def processor(ids, scores):
        prompts.append(ids.shape[1])
        return RepetitionPenaltyLogitsProcessor(penalty, prompt_ignore_length=prompts[0])(ids, scores)

    return [processor]


@few
def test_a_processor_of_the_user_still_takes_the_place_of_its_like(family, model):
    inputs = family.inputs()
    mine = [RepetitionPenaltyLogitsProcessor(1.0)]
    with applied(model, family, scorer="first", keep=3):
        alone = generate(model, inputs, max_new_tokens=8, logits_processor=mine)
        both = generate(model, inputs, max_new_tokens=8, logits_processor=mine, repetition_penalty=0.01)
        other = generate(model, inputs, max_new_tokens=8, repetition_penalty=0.01)
    assert torch.equal(both, alone)
    assert not torch.equal(other, alone)


@few
def test_a_least_number_of_new_tokens_counts_from_the_end_of_the_whole_prompt(family, model):
    inputs = family.inputs()
    length = inputs["input_ids"].shape[1]
    with applied(model, family, scorer="first", keep=3):
        first = generate(model, inputs)[:, length]
        ends = {"eos_token_id": first.tolist(), "pad_token_id": 0, "max_new_tokens": 6}
        early = generate(model, inputs, **ends)
        least = MinNewTokensLengthLogitsProcessor(length, 3, torch.tensor(first.tolist()))
        late = generate(model, inputs, **ends, logits_processor=[least])
    assert early.shape[1] == length + 1
    assert late.shape[1] >= length + 4 or not set(first.tolist()) & set(late[:, length : length + 3].flatten().tolist())


class Words:
    """A tokenizer that calls each token by its number."""

    def decode(self, tokens, **options):
        return "".join(f"{token} " for token in ([tokens] if isinstance(tokens, int) else tokens))


@few
@pytest.mark.parametrize("skip", [False, True])
def test_a_text_streamer_prints_what_was_asked_for(family, model, skip, capsys):
    inputs = family.inputs()
    one = {name: value[:1] if name != "pixel_values" or value.dim() == 4 else value for name, value in inputs.items()}
    if family.name == "qwen2-vl":
        patches = int(one["image_grid_thw"].prod())
        one["pixel_values"] = inputs["pixel_values"][:patches]
    with applied(model, family, scorer="first", keep=3):
        output = generate(model, one, streamer=TextStreamer(Words(), skip_prompt=skip))
    expected = output[0, one["input_ids"].shape[1] if skip else 0 :].tolist()
    assert list(map(int, capsys.readouterr().out.split())) == expected


@pytest.mark.parametrize("family", [FEW[0], FEW[2]], ids=str)  # Qwen-VL cannot be guided on transformers 5.24
def test_a_negative_prompt_as_long_as_the_prompt_stays_as_it_is(family, model):
    inputs = family.inputs()
    length = inputs["input_ids"].shape[1]
    negative = torch.randint(10, 40, inputs["input_ids"].shape, generator=torch.Generator().manual_seed(3))
    guided = {"guidance_scale": 3.0, "max_new_tokens": 8}
    before = generate(model, inputs, **guided, negative_prompt_ids=negative)
    with applied(model, family, scorer="first", keep=1.0):
        assert torch.equal(generate(model, inputs, **guided, negative_prompt_ids=negative), before)
    kept, policy = chosen(family)
    expected = family.generated(
        model, inputs, kept, {**guided, "do_sample": False, "eos_token_id": None, "negative_prompt_ids": negative}
    )
    with applied(model, family, **policy):
        found = generate(model, inputs, **guided, negative_prompt_ids=negative)
        assert not torch.equal(generate(model, inputs, max_new_tokens=8), found)
    assert torch.equal(found[:, length:], expected)


@few
def test_a_decoding_loop_of_the_user_is_refused_where_the_prompt_is_shorter(family, model):
    def loop(model, input_ids, **options):
        return input_ids

    with applied(model, family, scorer="first", keep=1.0):
        assert torch.equal(generate(model, family.inputs(), custom_generate=loop), family.inputs()["input_ids"])
    with applied(model, family, scorer="first", keep=3), pytest.raises(UnsupportedCallError, match="custom_generate"):
        generate(model, family.inputs(), custom_generate=loop)
