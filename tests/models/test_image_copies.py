"""Target "image": copies, checkpoints and state dicts of a pruned model behave as if it were not pruned."""

import copy
import io

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

import tokprune

from .calls import generate, logits
from .image_oracle import logits_by_hand
from .test_copies import files, shapes
from .traces import same_weights, traces, weights

OPTIONS = {"scorer": "received-attention", "keep": 4, "target": "image"}


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


@pytest.mark.parametrize("after", [2, "every"])
def test_a_deep_copy_prunes_on_its_own(fresh, inputs, after):
    plain, clean = logits(fresh, inputs), traces(fresh)
    handle = tokprune.apply(fresh, after=after, **OPTIONS)
    pruned, tokens = logits(fresh, inputs), generate(fresh, inputs)
    twin = copy.deepcopy(fresh)
    (own,) = tokprune.handles_of(twin)
    assert own is not handle
    assert own.model is twin
    handle.report = None
    assert torch.equal(logits(twin, inputs), pruned)
    assert torch.equal(generate(twin, inputs), tokens)
    assert handle.report is None
    assert own.report.counts.tolist() == [4, 4]
    own.remove()
    assert torch.equal(logits(twin, inputs), plain)
    assert shapes(traces(twin)) == shapes(clean)
    assert torch.equal(logits(fresh, inputs), pruned)
    handle.remove()
    assert torch.equal(logits(fresh, inputs), plain)
    assert traces(fresh) == clean


def test_removing_the_original_leaves_the_copy_pruned(fresh, inputs):
    with tokprune.apply(fresh, **OPTIONS):
        pruned = logits(fresh, inputs)
        twin = copy.deepcopy(fresh)
    del fresh
    assert torch.equal(logits(twin, inputs), pruned)


def test_a_copy_runs_on_its_own_weights(fresh, inputs):
    with tokprune.apply(fresh, after=(1, 3), **OPTIONS):
        before = logits(fresh, inputs)
        twin = copy.deepcopy(fresh)
        with torch.no_grad():
            twin.vision_model.encoder.layers[0].self_attn.qkv.weight.mul_(1.5)
        found = logits(twin, inputs)
        assert torch.equal(logits(fresh, inputs), before)
    tokprune.handles_of(twin)[0].remove()
    assert torch.equal(found, logits_by_hand(twin, inputs, {1: 10, 3: 4}))
    assert not torch.equal(found, before)


@pytest.mark.parametrize("after", [2, "every"])
def test_a_whole_model_saved_by_torch_comes_back_pruned(fresh, inputs, after):
    plain = logits(fresh, inputs)
    with tokprune.apply(fresh, after=after, **OPTIONS):
        pruned, stream = logits(fresh, inputs), io.BytesIO()
        torch.save(fresh, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    assert torch.equal(logits(loaded, inputs), pruned)
    (handle,) = tokprune.handles_of(loaded)
    assert handle.report.counts.tolist() == [4, 4]
    handle.remove()
    assert torch.equal(logits(loaded, inputs), plain)


def test_a_checkpoint_saved_while_pruned_is_the_one_saved_before_and_loads_unpruned(fresh, inputs, tmp_path):
    plain = logits(fresh, inputs)
    fresh.save_pretrained(tmp_path / "before")
    with tokprune.apply(fresh, reduction="merge", after="every", **OPTIONS):
        logits(fresh, inputs)
        fresh.save_pretrained(tmp_path / "while")
    assert files(tmp_path / "before") == files(tmp_path / "while")
    loaded = Blip2ForConditionalGeneration.from_pretrained(tmp_path / "while").eval()
    assert torch.equal(logits(loaded, inputs), plain)
    assert tokprune.handles_of(loaded) == []


def test_the_state_dict_is_not_touched(fresh, inputs):
    before = weights(fresh)
    with tokprune.apply(fresh, reduction="merge", after="every", **OPTIONS):
        logits(fresh, inputs)
        assert same_weights(fresh.state_dict(), before)
        fresh.load_state_dict({name: tensor * 0.5 for name, tensor in before.items()})
    assert same_weights(fresh.state_dict(), {name: tensor * 0.5 for name, tensor in before.items()})
