"""Copies, checkpoints and state dicts of a pruned model behave as if it were not pruned."""

import copy
import io

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

import tokprune

from .calls import generate, logits
from .keeping import keeping
from .oracle import hand_fed, oracle_logits, some_kept
from .traces import same_weights, traces, weights

TREATMENTS = [{}, {"positions": "preserve"}, {"reduction": "mask"}, {"scorer": "catp-weighted"}]


@pytest.mark.parametrize("treatment", TREATMENTS, ids=str)
def test_a_deep_copy_prunes_on_its_own(fresh, inputs, treatment):
    plain, clean = logits(fresh, inputs), traces(fresh)
    handle = tokprune.apply(fresh, keep=3, **treatment)
    pruned, tokens = logits(fresh, inputs), generate(fresh, inputs)
    twin = copy.deepcopy(fresh)
    (own,) = tokprune.handles_of(twin)
    assert own is not handle
    assert own.model is twin
    handle.report = None
    assert torch.equal(logits(twin, inputs), pruned)
    assert torch.equal(generate(twin, inputs), tokens)
    assert handle.report is None
    assert own.report.counts.tolist() == [3, 3]
    own.remove()
    assert torch.equal(logits(twin, inputs), plain)
    assert shapes(traces(twin)) == shapes(clean)
    assert torch.equal(logits(fresh, inputs), pruned)
    handle.remove()
    assert torch.equal(logits(fresh, inputs), plain)
    assert traces(fresh) == clean


def shapes(found):
    """Traces without the identities of parameters, which a copy has of its own."""
    return {name: (attributes, hooks, config) for name, (attributes, hooks, _, config) in found.items()}


def test_removing_the_original_leaves_the_copy_pruned(fresh, inputs):
    with tokprune.apply(fresh, keep=3):
        pruned = logits(fresh, inputs)
        twin = copy.deepcopy(fresh)
    assert torch.equal(logits(twin, inputs), pruned)
    del fresh
    assert torch.equal(generate(twin, inputs), generate(twin, inputs))
    assert tokprune.handles_of(twin)[0].active


def test_a_copy_runs_on_its_own_weights(fresh, inputs):
    kept = some_kept(2, 3)
    with tokprune.apply(fresh, **keeping(kept)):
        before = logits(fresh, inputs)
        twin = copy.deepcopy(fresh)
        with torch.no_grad():
            twin.language_projection.weight.mul_(2)
        assert torch.equal(logits(fresh, inputs), before)
        found = logits(twin, inputs)
    tokprune.handles_of(twin)[0].remove()
    assert torch.equal(found, oracle_logits(twin, inputs, hand_fed(twin, inputs, kept)))


@pytest.mark.parametrize("treatment", TREATMENTS, ids=str)
def test_a_whole_model_saved_by_torch_comes_back_pruned(fresh, inputs, treatment):
    plain = logits(fresh, inputs)
    with tokprune.apply(fresh, keep=3, **treatment):
        pruned, stream = logits(fresh, inputs), io.BytesIO()
        torch.save(fresh, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    assert torch.equal(logits(loaded, inputs), pruned)
    (handle,) = tokprune.handles_of(loaded)
    handle.remove()
    assert torch.equal(logits(loaded, inputs), plain)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_saved_while_pruned_is_byte_for_byte_the_one_saved_before(fresh, inputs, tmp_path):
    fresh.save_pretrained(tmp_path / "before")
    with tokprune.apply(fresh, scorer="catp-weighted", keep=3, positions="preserve"):
        logits(fresh, inputs)
        generate(fresh, inputs)
        fresh.save_pretrained(tmp_path / "while")
    fresh.save_pretrained(tmp_path / "after")
    assert files(tmp_path / "before") == files(tmp_path / "while") == files(tmp_path / "after")


def test_a_checkpoint_saved_while_pruned_loads_unpruned(fresh, inputs, tmp_path):
    plain = logits(fresh, inputs)
    with tokprune.apply(fresh, keep=3):
        fresh.save_pretrained(tmp_path)
    loaded = Blip2ForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded, inputs), plain)
    assert tokprune.handles_of(loaded) == []


def test_the_state_dict_is_not_touched(fresh, inputs):
    before = weights(fresh)
    with tokprune.apply(fresh, scorer="catp-weighted", keep=3):
        logits(fresh, inputs)
        assert same_weights(fresh.state_dict(), before)
        fresh.load_state_dict({name: tensor * 0.5 for name, tensor in before.items()})
    assert same_weights(fresh.state_dict(), {name: tensor * 0.5 for name, tensor in before.items()})
