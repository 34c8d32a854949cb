"""With a fixed keep nothing is read back from the device, and shapes are known beforehand."""

import functools

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import Blip2Config, Blip2ForConditionalGeneration

import tokprune
from tokprune.testing.tiny_blip2 import configuration, prompts

from .calls import generate

STATIC = {
    "catp-vote": {},
    "catp-weighted": {"scorer": "catp-weighted"},
    "self-attention": {"scorer": "self-attention"},
    "merge": {"scorer": "l2-norm", "reduction": "merge"},
    "mask": {"reduction": "mask"},
    "preserve": {"positions": "preserve"},
    "ratio": {"keep": 0.25},
    "image": {"scorer": "received-attention", "target": "image"},
    "image behind every layer": {"scorer": "received-attention", "target": "image", "after": "every"},
    "image merged": {"scorer": "l2-norm", "target": "image", "after": (1, 3), "reduction": "merge"},
}


@functools.cache
def _without_values(kind):
    """A mode without values, a model and its inputs in it, and the length of what that answers unpruned."""
    given, mode = prompts(kind), FakeTensorMode()
    if kind == "t5":
        given["decoder_input_ids"] = torch.zeros(2, 4, dtype=torch.long)
    with torch.device("meta"):
        vision = configuration(kind, False)["vision_config"]  # deep enough to be cut in several places
        config = Blip2Config(**{**configuration(kind, True), "vision_config": vision})
        shapes = Blip2ForConditionalGeneration._from_config(config, attn_implementation="sdpa").eval()
    with mode, torch.no_grad():
        shapes._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda"))
        inputs = {name: torch.empty(t.shape, dtype=t.dtype, device="cuda") for name, t in given.items()}
        return mode, shapes, inputs, shapes(**inputs).logits.shape[1]


@pytest.fixture
def device(kind):
    """A model and its inputs on a device that has shapes and no values: whoever asks for a value fails."""
    mode, shapes, inputs, _ = _without_values(kind)
    with mode, torch.no_grad():
        yield shapes, inputs


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        *(("opt", case) for case in STATIC),
        *(pytest.param("t5", case, marks=[] if case == "preserve" else [pytest.mark.slow]) for case in STATIC),
    ],
)
def test_nothing_is_read_back_from_the_device(device, kind, case):
    model, inputs = device
    before = _without_values(kind)[-1]
    with tokprune.apply(model, **{"keep": 3, **STATIC[case]}) as handle:
        after = model(**inputs).logits.shape[1]
    report = handle.report
    assert report.kept.device.type == "cuda"
    assert report.length_after < report.length_before or case == "mask"
    assert after == before  # the logits of the prompt that came, or of the decoder


def test_composed_policies_read_nothing_back(device):
    model, inputs = device
    image = tokprune.Policy("received-attention", keep=0.5, target="image")
    with tokprune.apply(model, [image, tokprune.Policy("catp-weighted", keep=3)]) as handles:
        model(**inputs)
    assert [report.kept.shape[1] for report in handles.reports.values()] == [16, 8]


def test_a_ragged_selector_has_to_count_what_it_kept(device):
    model, inputs = device
    with tokprune.apply(model, selector="top-p"), pytest.raises(DataDependentOutputException):
        model(**inputs)


def test_prompts_that_share_images_unevenly_are_refused_where_nothing_can_be_read(device):
    model, inputs = device
    inputs = {**inputs, "pixel_values": inputs["pixel_values"].repeat(2, 1, 1, 1)}
    with tokprune.apply(model, keep=3), pytest.raises(tokprune.UnsupportedCallError, match="2 prompts share 4 images"):
        model(**inputs)


@pytest.mark.parametrize("policy", [{}, {"scorer": "received-attention", "target": "image"}])
def test_a_static_cache_gives_what_a_growing_one_gives(model, inputs, policy):
    with tokprune.apply(model, keep=3, **policy):
        expected = generate(model, inputs)
        assert torch.equal(generate(model, inputs, cache_implementation="static"), expected)
