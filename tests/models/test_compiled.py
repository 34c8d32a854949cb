"""torch.compile of the parts of a pruned model: same results, and so many graph breaks."""

import pytest
import torch
from torch._dynamo.utils import counters

import tokprune
from tokprune import Policy
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import logits

QUERY = Policy(keep=3)
IMAGE = Policy("received-attention", keep=0.5, target="image")

# At most so many. The encoder breaks where it begins and ends, where a tap observes attention, and where tokens are
# pruned; the Q-Former where taps observe. Calls around that break, too: the compiler does not resume inside of them.
BREAKS = [
    ("vision_model", [QUERY], 0),
    pytest.param("vision_model", [IMAGE], 6, marks=pytest.mark.slow),
    pytest.param("qformer", [QUERY], 8, marks=pytest.mark.slow),
    pytest.param("qformer", [IMAGE], 1, marks=pytest.mark.slow),
    ("language_model", [IMAGE, QUERY], 0),
]


@pytest.fixture(autouse=True)
def forgotten():
    """The compiler remembers nothing of other tests."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def breaks():
    return sum(counters["graph_break"].values())


@pytest.mark.parametrize(("part", "policies", "expected"), BREAKS)
def test_a_compiled_part_answers_the_same_and_breaks_only_at_hooks(part, policies, expected):
    model, inputs = tiny_blip2("opt", shallow=True), prompts("opt")
    with tokprune.apply(model, policies):
        plain = logits(model, inputs)
        getattr(model, part).compile(backend="eager")
        for _ in range(2):  # the second call runs what the first compiled
            assert torch.equal(logits(model, inputs), plain)
        assert breaks() <= expected
        one = {name: tensor[:1] for name, tensor in inputs.items()}
        assert torch.allclose(logits(model, one)[0, -3:], plain[0, -3:], atol=2e-4)


@pytest.mark.slow
def test_parts_that_were_compiled_first_are_pruned_all_the_same():
    model, inputs = tiny_blip2("opt", shallow=True), prompts("opt")
    model.vision_model.compile(backend="eager")
    model.language_model.compile(backend="eager")
    before = logits(model, inputs)
    with tokprune.apply(model, [IMAGE, QUERY]) as handles:
        pruned = logits(model, inputs)
        assert torch.equal(pruned, logits(model, inputs))
        assert all(report is not None for report in handles.reports.values())
    assert not torch.equal(pruned[:, -3:], before[:, -3:])
    assert torch.equal(logits(model, inputs), before)


@pytest.mark.slow
def test_the_moved_bias_of_a_compiled_encoder_follows_each_call():
    model, inputs = tiny_blip2("t5", shallow=True), prompts("t5")
    with tokprune.apply(model, keep=3, positions="preserve") as handle:
        plain = logits(model, inputs)
        model.language_model.compile(backend="eager")
        assert torch.equal(logits(model, inputs), plain)
        swapped = {name: tensor.flip(0) for name, tensor in inputs.items()}
        kept = handle.report.kept
        assert torch.allclose(logits(model, swapped), plain.flip(0), atol=2e-4)
        assert torch.equal(handle.report.kept, kept.flip(0))
