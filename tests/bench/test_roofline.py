"""A machine of 100 operations and 10 bytes a second, two bytes a number: times can be seen at a glance."""

import pytest

from tokprune.bench.costs import Costs
from tokprune.bench.flops import Cost
from tokprune.bench.roofline import Machine
from tokprune.errors import InvalidValueError

MACHINE = Machine(flop_rate=100, bandwidth=10, bytes_per_number=2)
COSTS = Costs(
    encoder=(Cost(flops=1000, weights=5),),  # 10 s of arithmetic, 1 s of reading
    connector=(Cost(flops=100, weights=50),),  # 1 s and 10 s
    prefill=(Cost(flops=1000, weights=5), Cost(flops=100, weights=20)),  # 10 s and 1 s, then 1 s and 4 s
    decode=(Cost(flops=100, weights=5, cache=10),),  # 1 s; 1 s for weights and 2 s for the cache
)


def test_a_run_takes_the_longer_of_arithmetic_and_reading():
    assert MACHINE.seconds(COSTS, 1) == {"image encoder": 10, "connector": 10, "prefill": 14, "decode": 3}


def test_a_batch_multiplies_all_but_the_weights():
    assert MACHINE.seconds(COSTS, 20) == {"image encoder": 200, "connector": 20, "prefill": 220, "decode": 41}


def test_what_a_stage_waits_for():
    waits = {"image encoder": False, "connector": True, "prefill": False, "decode": True}
    assert MACHINE.waits_for_memory(COSTS, 1) == waits
    assert MACHINE.waits_for_memory(COSTS, 20) == {**waits, "connector": False}


@pytest.mark.parametrize("name", ["flop_rate", "bandwidth", "bytes_per_number"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_a_machine_that_does_nothing_is_refused(name, value):
    with pytest.raises(InvalidValueError, match=f"expected {name} to be a number above 0"):
        Machine(**{name: value})
