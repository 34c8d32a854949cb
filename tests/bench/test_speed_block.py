"""That the right things are timed, in turns; no test here looks at a time."""

import itertools

import pytest
import torch

from tokprune import Policy, handles_of
from tokprune.bench.oracle import Gift, kept_rows
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.speed import yardstick
from tokprune.bench.speed.block import Settings, measure_block
from tokprune.bench.speed.turns import in_turns
from tokprune.errors import AdapterError, InvalidValueError

SETTINGS = Settings(max_new_tokens=3, repeats=4, warm_up=1)
BOTH = [Policy("received-attention", keep=9, target="image", after=1), Policy("l2-norm", keep=3)]


class FakeClock:
    """Each mark is one later than the last, and says whether the model was pruned."""

    name = "fake"

    def __init__(self, model):
        self.model, self.ticks, self.log = model, itertools.count(), []

    def settle(self):
        self.log.append("settle")

    def mark(self):
        self.log.append("pruned" if handles_of(self.model) else "bare")
        return next(self.ticks)

    def seconds(self, begin, end):
        return float(end - begin)


def test_every_round_begins_with_somebody_else():
    turns = list(in_turns("uop", 4))
    assert ["".join(turns[i : i + 3]) for i in range(0, 12, 3)] == ["uop", "opu", "puo", "uop"]
    assert list(in_turns([], 3)) == []


def test_all_variants_are_measured_in_turns(opt, monkeypatch):
    inputs = random_inputs(opt, 2)
    log = []
    whole, hand = opt.generate, yardstick.oracle_generate
    monkeypatch.setattr(
        opt, "generate", lambda **kw: log.append("pruned" if handles_of(opt) else "unpruned") or whole(**kw)
    )
    monkeypatch.setattr(yardstick, "oracle_generate", lambda *a, **kw: log.append("oracle") or hand(*a, **kw))
    done = []
    block = measure_block(opt, inputs, BOTH, SETTINGS, FakeClock(opt), lambda: done.append(1))
    names = ("unpruned", "oracle", "pruned")
    order = [names[(round_ + i) % 3] for rounds in (1, 1, 1, 4, 4) for round_ in range(rounds) for i in range(3)]
    assert log == ["pruned", "oracle", *order], "first the proof that the oracle is right, then turns"
    assert len(done) == len(order) == SETTINGS.rounds * 3
    assert list(block.variants) == list(names)
    for measured in block.variants.values():
        assert len(measured.seconds) == 4
        assert [len(values) for values in measured.stages.values()] == [4] * 4


def test_nothing_but_the_call_lies_between_two_marks(opt):
    clock = FakeClock(opt)
    block = measure_block(opt, random_inputs(opt, 1), BOTH, SETTINGS, clock)
    assert clock.log[:6] == ["settle", "bare", "bare", "settle", "bare", "bare"]
    assert clock.log[6:9] == ["settle", "pruned", "pruned"], "the policies are on before the first mark"
    assert clock.log[9 * 4 :][:6] == ["settle", *["bare"] * 5], "stages: where the call begins, and four borders"
    assert block.variants["pruned"].seconds == [1.0] * 4, "one tick: no other mark in between"
    assert block.variants["pruned"].stages == {s: [1.0] * 4 for s in ("encoder", "connector", "prefill", "decode")}
    assert handles_of(opt) == []


@pytest.mark.parametrize("policies", [[], BOTH])
def test_what_is_counted_besides_time(model, policies):
    inputs = random_inputs(model, 2)
    block = measure_block(model, inputs, policies, SETTINGS, FakeClock(model))
    unpruned = block.variants["unpruned"]
    assert unpruned.steps == 2
    assert min(unpruned.flops.values()) > 0
    assert unpruned.peak_memory > inputs["pixel_values"].numel()
    assert set(block.choices) == {policy.target or "query" for policy in policies}
    assert len(block.variants) == (3 if policies else 1)
    if policies:
        for name in ("oracle", "pruned"):
            fewer = block.variants[name].flops
            assert fewer["encoder"] < unpruned.flops["encoder"]
            assert fewer["prefill"] < unpruned.flops["prefill"]
            assert fewer["decode"] <= unpruned.flops["decode"]


def test_an_oracle_that_is_handed_the_wrong_rows_is_refused(opt, monkeypatch):
    inputs = random_inputs(opt, 2)

    def the_others(model, inputs, choices, places):
        return Gift(kept_rows(inputs["input_ids"], ~choices["query"].report.kept, model.config.image_token_id))

    monkeypatch.setattr(yardstick, "gift_of", the_others)
    with pytest.raises(
        InvalidValueError, match=r"oracle: answers [12] of 2 samples differently .*l2-norm.* no yardstick"
    ):
        measure_block(opt, inputs, [Policy("l2-norm", keep=3)], SETTINGS, FakeClock(opt))
    assert handles_of(opt) == []


def test_what_cannot_be_measured_is_refused_before_it_is(opt):
    with pytest.raises(AdapterError, match="are not known; measured are BLIP-2"):
        measure_block(torch.nn.Linear(1, 1), {}, [], SETTINGS, FakeClock(opt))
    with pytest.raises(AdapterError, match="cannot cut target 'nothing'"):
        measure_block(opt, random_inputs(opt, 1), [Policy("l2-norm", target="nothing")], SETTINGS, FakeClock(opt))
    for name in ("max_new_tokens", "beams", "repeats"):
        with pytest.raises(InvalidValueError, match=f"{name} must be at least 1, got 0"):
            Settings(**{name: 0})


def test_settings_say_how_long_answers_are_and_how_they_are_searched():
    wanted = {"max_new_tokens": 7, "min_new_tokens": 7, "num_beams": 5, "do_sample": False}
    assert Settings(max_new_tokens=7, beams=5).generation == wanted
    assert Settings(repeats=3).staged_rounds == 3
    assert Settings(repeats=30).staged_rounds == 5
