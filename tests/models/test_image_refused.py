"""Target "image": what cannot be done is refused before the model is touched, in words that help."""

import pytest
import torch

import tokprune
from tokprune import AdapterError, AlreadyAppliedError, InvalidValueError, Policy

from .calls import logits
from .test_adapter_errors import NeedsGrid
from .traces import traces

IMAGE = {"scorer": "received-attention", "keep": 4, "target": "image"}
STEP = "received-attention:layers=[1]"


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


REFUSED = {
    "hiding": ({"reduction": "mask"}, AdapterError, "target 'image': reduction Mask.* takes no mask; use 'prune'"),
    "ragged": ({"selector": "top-p"}, AdapterError, "different numbers of tokens .*same number, such as 'top-k'"),
    "too deep": ({"after": 4}, InvalidValueError, "after=4: there are 3 layers; give a share"),
    "one of several too deep": ({"after": (1, 4)}, InvalidValueError, r"after=\(1, 4\): there are 3 layers"),
    "no layers": ({"after": 0}, InvalidValueError, "after=0 names no layers"),
    "falling layers": ({"after": (2, 1)}, InvalidValueError, r"after=\(2, 1\) names no layers.*a rising list"),
    "truth": ({"after": True}, InvalidValueError, "after=True names no layers"),
    "a share of nothing": ({"after": 0.0}, InvalidValueError, r"after=0\.0 names no layers.*a float in \(0, 1\]"),
    "a layer behind the cut": ({"scorer": STEP, "after": 1}, InvalidValueError, "there are 1 layers"),
    "a layer that some step lacks": ({"scorer": STEP, "after": (2, 3)}, InvalidValueError, "there are 1 layers"),
    "a layer that every step lacks": ({"scorer": STEP, "after": "every"}, InvalidValueError, "there are 1 layers"),
    "grid in steps": ({"scorer": NeedsGrid(), "after": "every"}, AdapterError, "'grid' .* first of 3 cuts.*cut once"),
    "votes that come later": ({"scorer": "catp-vote"}, AdapterError, "needs 'cross_attention'.*Fitting scorers: .*l2-"),
    "too large a keep": ({"keep": 1.5}, InvalidValueError, "keep=1.5 is not a keep ratio"),
    "unknown target": ({"target": "images"}, AdapterError, "cannot cut target 'images'.*its targets: 'query', 'image'"),
    "encoder votes on queries": (
        {"target": "query"},
        AdapterError,
        r"ReceivedAttention\(layers='last'\) is for 'image', 'audio' tokens only;.*Fitting scorers: catp-vote",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_anything_changes(opt, case):
    options, error, message = REFUSED[case]
    before = traces(opt)
    with pytest.raises(error, match=message):
        tokprune.apply(opt, **{**IMAGE, **options})
    assert traces(opt) == before
    assert tokprune.handles_of(opt) == []


def test_a_layer_that_there_is_in_every_step_is_not_refused(model, inputs):
    with tokprune.apply(model, **{**IMAGE, "scorer": STEP, "after": (2,)}) as handle:
        logits(model, inputs)
    assert handle.report.counts.tolist() == [4, 4]


def test_a_second_policy_on_the_image_is_refused_and_the_first_goes_on(model, inputs):
    with tokprune.apply(model, **IMAGE) as handle:
        expected, before = logits(model, inputs), traces(model)
        for second in (Policy(**{**IMAGE, "after": 3}), [Policy("l2-norm"), Policy(**IMAGE)]):
            with pytest.raises(AlreadyAppliedError, match=r"already carries Handle.*'image'.*handle\.remove\(\)"):
                tokprune.apply(model, second)
        assert traces(model) == before
        assert tokprune.handles_of(model) == [handle]
        assert torch.equal(logits(model, inputs), expected)


def test_features_computed_earlier_are_as_good_as_they_were(model, inputs):
    with tokprune.apply(model, **IMAGE), torch.no_grad():
        expected = logits(model, inputs)
        earlier = model.get_image_features(inputs["pixel_values"])
    assert earlier.last_hidden_state.shape[1] == 5
    if "mm_encoder_outputs" in model.forward.__code__.co_varnames:
        found = logits(model, {**inputs, "pixel_values": None}, mm_encoder_outputs={"image": earlier})
        assert torch.equal(found, expected)
