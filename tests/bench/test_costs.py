import pytest

from tokprune.bench.costs import Costs, Workload, shares
from tokprune.bench.flops import Cost
from tokprune.errors import InvalidValueError


@pytest.mark.parametrize("name", ["text_tokens", "answer_tokens", "beams"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_workload_without_tokens_or_beams_is_refused(name, value):
    with pytest.raises(InvalidValueError, match=f"expected {name} to be an int of at least 1, got {value!r}"):
        Workload(**{name: value})


def test_flops_of_a_stage_are_those_of_its_runs():
    costs = Costs((Cost(1),), (Cost(2),), (Cost(3), Cost(4)), ())
    assert costs.flops == {"image encoder": 1, "connector": 2, "prefill": 7, "decode": 0}
    assert costs.total == 10


def test_shares_are_parts_of_the_sum():
    assert shares({"a": 1, "b": 3}) == {"a": 0.25, "b": 0.75}
