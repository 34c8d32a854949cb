"""`quantize_dynamic` copies a pruned model and then puts other modules, with the same hooks, in the place of some."""

import warnings

import pytest
import torch

import tokprune
from tokprune.errors import AdapterError

from .seams import SEAMS, answer, built, options_of


def quantised(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})


def hooks(model):
    return {
        name: (len(module._forward_hooks), len(module._forward_pre_hooks), sorted(module.__dict__))
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("seam", ["layer", "embed-merge", "inside", "decoder", "methods"])
def test_its_copy_has_a_handle_of_its_own_that_takes_all_off(seam):
    model, inputs = built(SEAMS[seam][0])
    plain = quantised(model)
    expected, before = answer(plain, inputs), hooks(plain)
    with tokprune.apply(model, **options_of(seam)) as handle:
        copied = quantised(model)
        pruned = answer(model, inputs)
        (other,) = tokprune.handles_of(copied)
        assert other is not handle
        refused = ""
        try:
            answer(copied, inputs)
        except AdapterError as error:
            refused = str(error)
        if refused:
            assert "call handle.remove() and tokprune.apply again" in refused
        else:
            assert torch.equal(other.report.counts, handle.report.counts)
        other.remove()
        assert torch.equal(answer(copied, inputs), expected)
        assert hooks(copied) == before
        assert torch.equal(answer(model, inputs), pruned)
