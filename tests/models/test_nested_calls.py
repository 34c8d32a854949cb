"""A call that code of the user makes inside `generate`, of the same model, is a call of its own."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from .families.every import GENERATING
from .test_families import applied, lent

EACH = [
    family
    for family in GENERATING
    if family.name
    in (
        *("llava", "gemma3", "qwen2-vl", "blip2 with opt, query tokens", "instructblip with t5, query tokens"),
        *("llava, inside the language model", "mllama inside the language model", "whisper", "vit and gpt-2"),
        *("whisper inside the decoder", "vit and gpt-2 inside the decoder", "blip2 with opt, image tokens"),
        *("blip answers inside the question's encoder", "idefics inside the decoder"),
    )
]
"""One or two of each mechanism."""


@pytest.fixture(params=EACH, ids=str)
def family(request):
    """A family."""
    return request.param


@pytest.fixture
def model(family):
    """Its model, shared."""
    return lent(family)


def other(family):
    """Other images, and the last row first."""
    inputs = {name: value.clone() for name, value in family.inputs().items()}
    for name, value in inputs.items():
        if value.is_floating_point():
            inputs[name] = value.flip(0) if len(value) == 2 else value.flip(-1)
    return inputs


def generate(model, family, inputs, **options):
    inputs = inputs if family.asked is None else family.asked(inputs)
    if family.adapter != "blip":  # which brings its own
        options["eos_token_id"] = None
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=4, do_sample=False, **options)


def asked_about_other(model, family):
    """What the model says of other images: the last logits of a forward, and what it generates."""
    answer = family.answer(model, other(family))
    return (answer[:, -1] if answer.dim() == 3 else answer.expand(2, 1)), generate(model, family, other(family))


class Streamer:
    def __init__(self, put):
        self.put = put

    def end(self):
        pass


@pytest.mark.parametrize(
    ("family", "keep"),
    [*((each, 3) for each in EACH), (EACH[0], 1.0), *(pytest.param(e, 1.0, marks=pytest.mark.slow) for e in EACH[1:])],
    ids=str,
)
def test_calls_in_user_code_are_calls_of_their_own(family, model, keep):
    expected, lengths, seen = [], [], []

    def processor(ids, scores):
        seen.append(asked_about_other(model, family))
        lengths.append(handle.report.length_after)
        return scores - 0.1 * seen[-1][0][: len(scores), : scores.shape[1]]

    def judge(ids, scores):
        seen.append(asked_about_other(model, family))
        return torch.zeros(len(ids), dtype=torch.bool)

    def put(value):
        seen.append(asked_about_other(model, family))

    with applied(model, family, scorer="l2-norm", keep=keep) as handle:
        expected = asked_about_other(model, family)
        plain = generate(model, family, family.inputs())
        by_hand = generate(
            model,
            family,
            family.inputs(),
            logits_processor=[lambda ids, scores: scores - 0.1 * expected[0][: len(scores), : scores.shape[1]]],
        )
        length = handle.report.length_after
        nested = generate(model, family, family.inputs(), logits_processor=[processor])
        judged = generate(model, family, family.inputs(), stopping_criteria=[judge], streamer=Streamer(put))
        again = generate(model, family, family.inputs())
    assert torch.equal(nested, by_hand)
    assert torch.equal(judged, plain)
    assert torch.equal(again, plain)
    assert lengths
    assert set(lengths) == {length}
    assert len(seen) >= 3
    for logits, sequences in seen:
        assert torch.equal(logits, expected[0])
        assert torch.equal(sequences, expected[1])


def test_calls_in_threads_that_user_code_starts(model, family):
    with applied(model, family, scorer="l2-norm", keep=3), ThreadPoolExecutor(1) as pool:
        expected = asked_about_other(model, family)[1]
        plain = generate(model, family, family.inputs())
        found = []

        def judge(ids, scores):
            found.append(pool.submit(generate, model, family, other(family)).result())
            return torch.zeros(len(ids), dtype=torch.bool)

        assert torch.equal(generate(model, family, family.inputs(), stopping_criteria=[judge]), plain)
    assert all(torch.equal(each, expected) for each in found)


def test_a_call_with_fewer_prompts_than_the_one_around_it():
    family = next(each for each in EACH if each.name == "llava, inside the language model")
    model, inputs = lent(family), family.inputs()
    one = {name: value[:1] for name, value in inputs.items()}
    found = []

    def judge(ids, scores):
        found.append(generate(model, family, one))
        return torch.zeros(len(ids), dtype=torch.bool)

    with applied(model, family, scorer="l2-norm", keep=3):
        expected, plain = generate(model, family, one), generate(model, family, inputs)
        assert torch.equal(generate(model, family, inputs, stopping_criteria=[judge]), plain)
        found.append(generate(model, family, one))
        with torch.no_grad():
            logits = model(**one).logits
            generate(
                model, family, inputs, logits_processor=[lambda ids, scores: _same(model(**one).logits, logits, scores)]
            )
    assert all(torch.equal(each, expected) for each in found)


def _same(found, expected, scores):
    assert torch.equal(found, expected)
    return scores
