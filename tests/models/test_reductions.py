"""Merging against a merge by hand; hiding against removing."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import answer, generate, logits
from .keeping import keeping
from .oracle import features, hand_fed, oracle_answer, oracle_logits, some_kept, stays
from .prompts import BATCHES, as_embeddings


def merged_by_hand(vectors, kept):
    """Each dropped token joins the kept one at the smallest angle; a kept one becomes the mean of all that it holds."""
    merged, sizes = vectors.clone(), torch.zeros(kept.shape)
    for image, row in enumerate(kept.tolist()):
        groups = {token: [token] for token, stays in enumerate(row) if stays}
        for token, stay in enumerate(row):
            if not stay:
                angles = {k: torch.cosine_similarity(vectors[image, token], vectors[image, k], dim=0) for k in groups}
                groups[max(angles, key=angles.get)].append(token)
        for token, members in groups.items():
            merged[image, token] = sum(vectors[image, member] for member in members) / len(members)
            sizes[image, token] = len(members)
    return merged, sizes


@pytest.mark.parametrize("batch", BATCHES)
def test_merged_tokens_are_those_merged_by_hand(model, kind, batch):
    inputs = prompts(kind, **BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    vectors, sizes = merged_by_hand(features(model, inputs), kept)
    fed = hand_fed(model, inputs, kept, vectors=vectors)
    with tokprune.apply(model, **keeping(kept, reduction="merge", attention="plain")) as handle:
        assert torch.allclose(logits(model, inputs), oracle_logits(model, inputs, fed), atol=1e-4)
        output = generate(model, inputs)
    assert torch.equal(handle.report.sizes, sizes)
    assert torch.equal(answer(model, inputs, output), oracle_answer(model, fed))


def test_merging_is_not_pruning(model, inputs):
    kept, found = some_kept(2, 3), []
    for reduction in ("prune", "merge"):
        with tokprune.apply(model, **keeping(kept, reduction=reduction)):
            found.append(logits(model, inputs))
    assert found[0].shape == found[1].shape
    assert (found[0] - found[1]).abs().max() > 0.1


def test_embedded_prompts_are_merged_too(model, inputs):
    with tokprune.apply(model, keep=3, reduction="merge"):
        assert torch.equal(logits(model, as_embeddings(model, inputs), input_ids=None), logits(model, inputs))


POSITIONS = ("compact", "preserve")


def real_rows(model, inputs, kept, full):
    """Logits at the real tokens that stay; a decoder's logits as they are."""
    if model.language_model.config.is_encoder_decoder:
        return full
    mask = inputs["attention_mask"]
    return torch.cat([full[r, [p for p in places if mask[r, p]]] for r, places in enumerate(stays(inputs, kept))])


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_hidden_tokens_give_the_logits_of_removed_ones(model, kind, batch, positions):
    inputs = prompts(kind, **BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    with tokprune.apply(model, **keeping(kept, reduction="prune", positions=positions)):
        pruned = real_rows(model, inputs, kept, logits(model, inputs))
    with tokprune.apply(model, **keeping(kept, reduction="mask", positions=positions)) as handle:
        hidden = real_rows(model, inputs, kept, logits(model, inputs))
    assert handle.report.length_after == handle.report.length_before
    assert torch.allclose(hidden, pruned, atol=2e-4)
    assert (real_rows(model, inputs, kept, logits(model, inputs)) - pruned).abs().max() > 0.1


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("mode", [{"do_sample": False}, {"num_beams": 2, "do_sample": False}], ids=["greedy", "beams"])
def test_hidden_tokens_give_the_answers_of_removed_ones(model, inputs, positions, mode):
    kept, found = some_kept(2, 3), []
    for reduction in ("prune", "mask"):
        with tokprune.apply(model, **keeping(kept, reduction=reduction, positions=positions)):
            found.append(generate(model, inputs, **mode))
    assert torch.equal(*found)
    assert not torch.equal(found[0], generate(model, inputs, **mode))


@pytest.mark.parametrize("positions", POSITIONS)
def test_uneven_kept_sets_are_hidden_too(model, inputs, positions):
    kept, found = torch.cat([some_kept(1, 2), some_kept(1, 6)]), []
    with tokprune.apply(model, **keeping(kept, positions=positions)):
        pruned = real_rows(model, inputs, kept, logits(model, inputs))
    with tokprune.apply(model, **keeping(kept, reduction="mask", positions=positions)):
        found = real_rows(model, inputs, kept, logits(model, inputs))
    assert torch.allclose(found, pruned, atol=2e-4)
