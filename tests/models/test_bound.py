"""An adapter is bound to a model once for each `apply`, and asked of each thing once."""

import sys
from collections import Counter

import pytest

import tokprune
from tokprune.bound import BoundAdapter, bind
from tokprune.testing import tiny


def calls_in(function, *wanted):
    """How many times functions of these names are called meanwhile."""
    counts = Counter()

    def note(frame, event, arg):
        if event == "call" and frame.f_code.co_name in wanted:
            counts[frame.f_code.co_name] += 1

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return counts


@pytest.mark.parametrize("name", ["whisper", "llava", "mllama"])
def test_one_apply_looks_at_a_model_twice(name):
    model, _ = tiny(name)
    counts = calls_in(lambda: tokprune.apply(model, keep=3).remove(), "family")
    assert counts == {"family": 2}  # what it offers, and what is attached; 7 while each check asked anew


def test_several_policies_share_what_the_adapter_offers():
    model, _ = tiny("llava")
    policies = [tokprune.Policy("stride", keep=8), tokprune.Policy("first", keep=3, after=1)]
    counts = calls_in(lambda: tokprune.apply(model, policies).remove(), "offers", "attach")
    assert (counts["offers"], counts["attach"]) == (2, 2 * 2)  # the bound adapter's own, and the adapter's


def test_an_adapter_may_have_a_bind_of_its_own():
    model, _ = tiny("vit")
    usual = tokprune.adapter_for(model)

    class Mine:
        def matches(self, model):
            return True

        def bind(self, model):
            self.bound = BoundAdapter(usual, model)
            return self.bound

    mine = Mine()
    assert bind(mine, model) is mine.bound
    with tokprune.apply(model, scorer="first", adapter=mine) as handle:
        assert handle.target == "image"
