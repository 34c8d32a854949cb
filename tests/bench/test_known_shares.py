"""Costs of published models against tables that came from formulas on paper, written before this code.

Those formulas differ from a real call in three ways, and the tolerances are for that. They keep a fraction of all 257
tokens, where [CLS] always stays (65 tokens at 1/4, not 64.25), they leave out the patch embedding, and they halve
causal attention, which no counter does. Together that moves no share by a point and no gain by more than 0.01. For T5
they also leave out the run of the decoder that gives the first answer token; there the tables are corrected below.
"""

import functools

import pytest

from tokprune.bench.arithmetic import Arithmetic
from tokprune.bench.costs import Workload, shares
from tokprune.bench.gains import Gains
from tokprune.bench.promptarithmetic import PromptArithmetic
from tokprune.bench.roofline import Machine
from tokprune.bench.sizes import real_size_config
from tokprune.bench.weightless import weightless

OPT, T5, VICUNA = "blip2-opt-2.7b", "blip2-flan-t5-xl", "instructblip-vicuna-7b"
CAPTION, BEAMS, VQA = Workload(4, 10), Workload(4, 10, beams=5), Workload(16, 3)
INSTRUCT, INSTRUCT_BEAMS = Workload(40, 30), Workload(40, 3, beams=5)


def rows(*rows):
    """Each workload counts a whole call of its own; three that differ most are in both tiers of tests."""
    both = ((OPT, CAPTION), (T5, VQA), (VICUNA, INSTRUCT_BEAMS))
    return [pytest.param(*row, marks=[] if row[:2] in both else [pytest.mark.slow]) for row in rows]


@functools.cache
def gains_of(size, workload):
    return Gains(arithmetic_of(size), workload=workload).table()


@functools.cache
def arithmetic_of(size):
    return Arithmetic(weightless(real_size_config(size)))


def percent(values):
    return [100 * share for share in shares(values).values()]


@pytest.mark.parametrize(
    ("size", "workload", "flops", "batch_1", "milliseconds", "batch_32"),
    rows(
        (OPT, CAPTION, (68, 2, 24, 6), (6, 0, 9, 84), 14.7, (54, 1, 19, 26)),
        (OPT, BEAMS, (31, 1, 54, 14), (6, 0, 10, 84), 15.0, (30, 1, 52, 18)),
        (OPT, VQA, (66, 2, 31, 1), (17, 1, 27, 54), 5.1, (63, 2, 29, 7)),
        # 28/2/23/48 of 3.1 ms, and the decoder's first run, which is half of its other two
        (T5, VQA, (78, 2, 20, 1), (22.6, 1.6, 37.9, 38.7), 3.1 * 1.24, (75, 2, 19, 5)),
        (VICUNA, INSTRUCT, (28, 1, 50, 21), (1, 0, 3, 96), 104.5, (15, 1, 26, 58)),
        (VICUNA, INSTRUCT_BEAMS, (10, 0, 87, 2), (6, 0, 50, 44), 15.8, (10, 0, 87, 3)),
    ),
)
def test_shares_of_the_stages(size, workload, flops, batch_1, milliseconds, batch_32):
    costs = arithmetic_of(size).count(workload)
    alone, together = (Machine().seconds(costs, batch) for batch in (1, 32))
    assert percent(costs.flops) == pytest.approx(flops, abs=1)
    assert percent(alone) == pytest.approx(batch_1, abs=1)
    assert percent(together) == pytest.approx(batch_32, abs=1)
    assert 1000 * sum(alone.values()) == pytest.approx(milliseconds, rel=0.02)


@pytest.mark.parametrize(
    ("size", "workload", "query", "image", "both", "tolerance"),
    rows(
        (OPT, CAPTION, (1.12, 1.19, 1.23), (1.31, 1.54, 1.69), (1.52, 2.04, 2.45), 0.011),
        (OPT, BEAMS, (1.32, 1.56, 1.72), (1.12, 1.19, 1.23), (1.53, 2.08, 2.53), 0.011),
        (OPT, VQA, (1.11, 1.18, 1.22), (1.30, 1.51, 1.65), (1.49, 1.98, 2.35), 0.011),
        (T5, VQA, (1.07, 1.11, 1.13), (1.37, 1.66, 1.86), (1.50, 1.99, 2.37), 0.03),
        (VICUNA, INSTRUCT, (1.13, 1.20, 1.24), (1.11, 1.17, 1.20), (1.26, 1.45, 1.57), 0.011),
        (VICUNA, INSTRUCT_BEAMS, (1.24, 1.41, 1.52), (1.03, 1.05, 1.06), (1.30, 1.52, 1.66), 0.011),
    ),
)
def test_gains_by_flops_at_a_half_a_quarter_and_an_eighth(size, workload, query, image, both, tolerance):
    gains = [gain.flops for gain in gains_of(size, workload)]
    assert gains == pytest.approx([*query, *image, *both], abs=tolerance)


@pytest.mark.parametrize(
    ("size", "workload", "query", "image"),
    rows(
        (OPT, CAPTION, 1.00, 1.03),
        (OPT, BEAMS, 1.02, 1.02),
        (OPT, VQA, 1.00, 1.08),
        (
            T5,
            VQA,
            1.00,
            1 / (1 - (1 - 1 / 1.13) / 1.24),
        ),  # the same time is saved, of a call that is 1.24 times as long
        (VICUNA, INSTRUCT, 1.00, 1.00),
        (VICUNA, INSTRUCT_BEAMS, 1.20, 1.02),
    ),
)
def test_gains_at_batch_1_and_a_quarter(size, workload, query, image):
    alone = {gain.targets: gain.alone for gain in gains_of(size, workload) if gain.keep == 0.25}
    assert [alone["query",], alone["image",]] == pytest.approx([query, image], abs=0.01)


@pytest.mark.parametrize(
    ("size", "workload", "query", "image", "both"),
    rows(
        (OPT, CAPTION, (1.10, 1.16, 1.19), (1.23, 1.38, 1.48), (1.38, 1.71, 1.93)),
        (OPT, BEAMS, (1.33, 1.60, 1.77), (1.11, 1.18, 1.21), (1.54, 2.11, 2.58)),
        (VICUNA, INSTRUCT, (1.07, 1.12, 1.14), (1.05, 1.08, 1.10), (1.14, 1.22, 1.27)),
    ),
)
def test_gains_at_batch_32(size, workload, query, image, both):
    gains = [gain.batch for gain in gains_of(size, workload)]
    assert gains == pytest.approx([*query, *image, *both], abs=0.011)


LLAVA, SHORT, LONG = "llava-1.5-7b", Workload(50, 5), Workload(50, 128)


@functools.cache
def llava():
    return PromptArithmetic(weightless(real_size_config(LLAVA)))


@pytest.mark.parametrize(
    ("workload", "flops", "batch_1", "milliseconds", "batch_32"),
    [
        (SHORT, (4, 0, 95, 1), (2, 0, 48, 49), 28.6, (4, 0, 91, 5)),
        pytest.param(LONG, (4, 0, 80, 17), (0, 0, 3, 97), 464, (2, 0, 35, 64), marks=pytest.mark.slow),
    ],
)
def test_shares_of_llava(workload, flops, batch_1, milliseconds, batch_32):
    costs = llava().count(workload)
    alone, together = (Machine().seconds(costs, batch) for batch in (1, 32))
    assert percent(costs.flops) == pytest.approx(flops, abs=1)
    assert percent(alone) == pytest.approx(batch_1, abs=1)
    assert percent(together) == pytest.approx(batch_32, abs=1)
    assert 1000 * sum(alone.values()) == pytest.approx(milliseconds, rel=0.02)


@pytest.mark.parametrize(
    ("workload", "gains", "alone"),
    [(SHORT, (1.78, 2.92, 4.27), 1.52), pytest.param(LONG, (1.59, 2.24, 2.82), 1.04, marks=pytest.mark.slow)],
)
def test_gains_of_llava(workload, gains, alone):
    # Causal attention over 626 tokens is halved on paper, and counted whole here.
    table = Gains(llava(), ("image",), workload, stages=llava().stages).table()
    assert [gain.flops for gain in table] == pytest.approx(gains, rel=0.007)
    assert table[1].alone == pytest.approx(alone, abs=0.015)
