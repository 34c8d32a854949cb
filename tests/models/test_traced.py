"""`torch.jit.trace` of a pruned model records the choice, too: other images get theirs. `torch.fx` is refused."""

import pytest
import torch

import tokprune
from tokprune.errors import UnsupportedCallError
from tokprune.functional import chunks

from .families.every import FAMILIES
from .test_families import lent

NAMED = {family.name: family for family in FAMILIES}
TIMM, DINO = NAMED["timm with registers"], NAMED["dinov2 with registers"]
ENCODERS = [
    DINO,
    NAMED["clip's image encoder"],
    *(pytest.param(NAMED[name], marks=pytest.mark.slow) for name in ("siglip", "deit")),
]
POLICIES = [
    *({"scorer": scorer} for scorer in TIMM.scorers),
    {"scorer": "self-attention", "aggregator": "borda"},
    {"scorer": "self-attention", "keep": 0.3, "after": [1, 2], "reduction": "merge"},
]

pytestmark = pytest.mark.filterwarnings("ignore")


class Answer(torch.nn.Module):
    """A model with tensors in and one tensor out, as a trace wants them."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors):
        output = self.model(**dict(zip(self.names, tensors, strict=True)))
        return output if isinstance(output, torch.Tensor) else next(iter(output.values()))


def other_pictures(inputs):
    return [torch.randn_like(value) if value.is_floating_point() else value for value in inputs.values()]


def check(family, images=None, **policy):
    """Trace with one batch, and compare with the model on it and on another."""
    inputs = family.inputs()
    whole = Answer(lent(family), list(inputs))
    with tokprune.apply(whole.model, **{"keep": 3} | family.options | policy), torch.no_grad():
        traced = torch.jit.trace(whole, tuple(inputs.values()), check_trace=False)
        others = [other_pictures(inputs)] if images is None else [other_pictures(family.inputs(images=images))]
        for given in (list(inputs.values()), *others):
            assert torch.equal(traced(*given), whole(*given))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_traced_encoder_prunes_as_the_model_does(policy):
    check(TIMM, **policy)


@pytest.mark.parametrize("family", ENCODERS, ids=str)
def test_attention_votes_in_a_trace(family):
    check(family, scorer="received-attention", aggregator="borda")


@pytest.mark.parametrize("scorer", ["catp-vote", "text-attention"])
def test_cross_attention_votes_in_a_trace(scorer):
    check(NAMED["blip captions inside the decoder" if scorer == "text-attention" else "blip captions"], scorer=scorer)


def test_a_trace_takes_batches_larger_than_that_it_was_made_with(monkeypatch):
    monkeypatch.setattr(chunks, "CPU_CELLS", 64)  # such small pieces that the recorded ones would leave images out
    check(TIMM, images=5, scorer="received-attention", aggregator="borda")


def test_a_trace_fails_with_more_tokens_than_it_was_made_with():
    inputs = DINO.inputs()
    whole = Answer(lent(DINO), list(inputs))
    with torch.no_grad():
        larger = torch.randn(2, 3, 24, 16)
        torch.jit.trace(whole, tuple(inputs.values()), check_trace=False)(larger)  # unpruned it works
        with tokprune.apply(whole.model, scorer="stride", keep=0.5, **DINO.options):
            traced = torch.jit.trace(whole, tuple(inputs.values()), check_trace=False)
            with pytest.raises(RuntimeError, match="is invalid for input of size"):
                traced(larger)


def test_symbolic_tracing_is_refused_with_its_reason():
    model = lent(TIMM)
    torch.fx.symbolic_trace(model)  # unpruned it works
    with tokprune.apply(model, scorer="l2-norm", keep=3, **TIMM.options):
        for traced in (model, torch.nn.Sequential(model)):
            with pytest.raises(UnsupportedCallError, match=r"torch.fx.symbolic_trace.*handle.remove\(\)"):
                torch.fx.symbolic_trace(traced)
    torch.fx.symbolic_trace(model)
