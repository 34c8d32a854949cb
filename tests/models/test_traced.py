"""`torch.jit.trace` of a pruned encoder records the choice, too: other images get theirs."""

import pytest
import torch

import tokprune

from .families.encoders import FAMILIES
from .test_families import lent

TRACED = [family for family in FAMILIES if family.name == "timm with registers"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", TRACED, ids=str)
def test_a_traced_encoder_prunes_as_the_model_does(family):
    model, (image,) = lent(family), family.inputs().values()
    with tokprune.apply(model, scorer="l2-norm", keep=3, **family.options), torch.no_grad():
        traced = torch.jit.trace(model, (image,), check_trace=False)
        for given in (image, torch.randn_like(image)):
            assert torch.equal(traced(given), model(given))
