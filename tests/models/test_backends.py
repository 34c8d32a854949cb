"""Who counts the votes can be chosen, and the report says who did."""

import pytest

import tokprune
from tokprune.kernels.backends import note_backend

from .calls import logits


@pytest.mark.parametrize("target", [{}, {"scorer": "received-attention", "target": "image"}])
def test_on_a_processor_the_reference_counts(model, inputs, target):
    with tokprune.apply(model, keep=3, **target) as handle:
        logits(model, inputs)
    assert handle.report.backend == "reference"


def test_the_report_names_every_backend_that_counted(model, inputs, monkeypatch):
    def count(self, votes):
        for name in ("triton", "reference"):
            note_backend(name)
        return next(iter(votes)).values.sum(dim=1)

    monkeypatch.setattr(tokprune.aggregators.Total, "__call__", count)
    with tokprune.apply(model, scorer="l2-norm", keep=3) as handle:
        logits(model, inputs)
    assert handle.report.backend == "reference, triton"


def test_a_backend_that_cannot_be_had_is_refused_by_name(model, inputs):
    before = logits(model, inputs)
    message = "backend 'triton'"
    with (
        tokprune.apply(model, aggregator="borda:backend=triton", keep=3),
        pytest.raises(tokprune.errors.BackendError, match=message),
    ):
        logits(model, inputs)
    assert (logits(model, inputs) == before).all()
