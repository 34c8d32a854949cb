"""Gains, and the sentences about them, on counts that are made up: the sentences have to follow the numbers."""

import pytest

from tokprune.bench.costs import Costs
from tokprune.bench.flops import Cost
from tokprune.bench.gains import Gains
from tokprune.bench.roofline import Machine

MACHINE = Machine(flop_rate=1, bandwidth=1, bytes_per_number=1)


class Counted:
    """Stands in for `Arithmetic`: an encoder and a prefill that cost what is kept, and a decoding that does not."""

    def __init__(self, encoder=0, prefill=0, decode=0, weights=0):
        self.encoder, self.prefill, self.decode, self.weights = encoder, prefill, decode, weights

    def count(self, workload, *, query_keep=None, image_keep=None, after=None):
        return Costs(
            (Cost(int(self.encoder * (image_keep or 1))),),
            (Cost(),),
            (Cost(int(self.prefill * (query_keep or 1))),),
            (Cost(self.decode, self.weights),),
        )


def test_gains_are_unpruned_by_pruned():
    gains = Gains(Counted(encoder=80, prefill=16, decode=4, weights=104), machine=MACHINE, batch=26)
    gain = gains.of(["query"], 0.5)
    assert gain.flops == 100 / 92
    assert gain.alone == (80 + 16 + 104) / (80 + 8 + 104)
    assert gain.batch == (80 + 16 + 4) / (80 + 8 + 4)


def test_each_target_at_each_keep_then_both():
    gains = Gains(Counted(80, 16, 4), machine=MACHINE, keeps=(0.5, 0.25))
    rows = [(gain.targets, gain.keep, gain.flops) for gain in gains.table()]
    assert rows == [
        (("query",), 0.5, 100 / 92),
        (("query",), 0.25, 100 / 88),
        (("image",), 0.5, 100 / 60),
        (("image",), 0.25, 100 / 40),
        (("query", "image"), 0.5, 100 / 52),
        (("query", "image"), 0.25, 100 / 28),
    ]


def test_one_target_has_no_both():
    assert [gain.targets for gain in Gains(Counted(80, 16, 4), targets=("image",)).table()] == [("image",)] * 3


def verdicts(*costs, targets=("query", "image")):
    return Gains(Counted(*costs), targets, machine=MACHINE, batch=100).verdicts()


def test_the_target_that_gains_most_by_flops_comes_first():
    first = verdicts(80, 16, 4)[0]
    assert first == (
        "By FLOPs, at keep 0.125: pruning image tokens makes the image encoder cheaper, 80% of the arithmetic (at most "
        "3.33x); pruning query tokens makes the prefill cheaper, 16% of the arithmetic (at most 1.16x)."
    )
    assert verdicts(16, 80, 4)[0].index("query tokens") < verdicts(16, 80, 4)[0].index("image tokens")


def test_where_nothing_pays_the_reason_is_given():
    _, alone, batch = verdicts(8, 8, 4, 384)
    assert alone == (
        "By time, at batch 1 and keep 0.125: it does not pay to prune query tokens (at most 1.02x: the prefill is 2% "
        "of the time) or image tokens (at most 1.02x: the image encoder is 2% of the time) or both (at most 1.04x); "
        "96% of the time goes to the decode, which waits for weights and cache to be read."
    )
    assert batch.startswith("By time, at batch 100 and keep 0.125: it can pay to prune query tokens (at most 1.54x)")
    assert "not pay" not in batch


def test_where_arithmetic_takes_the_time_nothing_is_said_of_reading():
    alone = verdicts(8, 8, 384)[1]
    assert alone.endswith("; 96% of the time goes to the decode.")


def test_where_one_target_pays_and_the_other_does_not():
    alone = verdicts(800, 16, 184)[1]
    assert "it does not pay to prune query tokens (at most 1.01x: the prefill is 2% of the time); it can pay" in alone
    assert alone.endswith("it can pay to prune image tokens (at most 3.33x), both (at most 3.50x).")


def test_only_what_can_be_pruned_is_spoken_of():
    assert not any("image" in sentence or "both" in sentence for sentence in verdicts(80, 16, 4, targets=("query",)))


@pytest.mark.parametrize("batch", [1, 100])
def test_a_stage_that_waits_for_its_weights_says_so(batch):
    class Waiting(Counted):
        def count(self, workload, **keeps):
            return Costs((Cost(1, 1000),), (Cost(),), (Cost(1, 100),), (Cost(1, 100),))

    sentences = Gains(Waiting(), machine=MACHINE, batch=100).verdicts()
    assert "the image encoder is 83% of the time and waits for its weights to be read" in sentences[1]
