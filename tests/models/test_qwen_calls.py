"""Qwen-VL: videos in the prompt, features for later layers, and calls that cannot be pruned rightly."""

import copy

import pytest
import torch

import tokprune
from tokprune.errors import UnsupportedCallError
from tokprune.testing.tiny_qwen import IMAGE, prompts

from .families.family import assert_same, some_kept
from .keeping import keeping
from .qwen_models import BUILDS, lend
from .qwen_oracle import kept_indices, oracle_logits, oracle_new_tokens, positions, token_counts


@pytest.fixture(params=BUILDS, ids=str)
def name(request):
    """The family."""
    return request.param


@pytest.fixture
def model(name):
    """One model of the family, shared: a test must leave it as it came."""
    yield from lend(name)


def logits(model, inputs, **options):
    """Logits of a forward."""
    with torch.no_grad():
        return model(**inputs, **options).logits


def generate(model, inputs, **options):
    """New tokens, with a seed."""
    torch.manual_seed(7)
    with torch.no_grad():
        return model.generate(**inputs, **{"max_new_tokens": 5, **options})[:, inputs["input_ids"].shape[1] :]


VIDEOS = {
    "behind the image": (((4, 8), (2, 4, 4)), ((2, 4, 4), (8, 4))),
    "in another row": (((2, 4, 4),), ((4, 8), (8, 4))),
    "as large as the image": (((1, 4, 8), (4, 8)), ((4, 8),)),
}


@pytest.mark.parametrize("rows", VIDEOS.values(), ids=VIDEOS)
def test_videos_are_left_alone(model, name, rows):
    inputs = prompts(rows, apart=name == "qwen3-vl")
    kept = some_kept((8, 8), (3, 5))
    expected = oracle_logits(model, inputs, kept)
    with tokprune.apply(model, **keeping(kept)) as handle:
        assert_same(logits(model, inputs), expected)
    assert torch.equal(handle.report.kept, kept)
    if rows == VIDEOS["behind the image"]:
        for mode in ({"do_sample": False}, {"num_beams": 2}, {"do_sample": False, "use_cache": False}):
            new = oracle_new_tokens(model, inputs, kept, {"max_new_tokens": 5, **mode})
            with tokprune.apply(model, **keeping(kept)):
                assert torch.equal(generate(model, inputs, **mode), new)


def test_a_prompt_with_nothing_but_a_video_is_as_ever(model, name):
    inputs = prompts([[(2, 4, 4)], [(2, 4, 4)]], apart=name == "qwen3-vl")
    before = logits(model, inputs), generate(model, inputs)
    with tokprune.apply(model, scorer="first", keep=1) as handle:
        assert torch.equal(logits(model, inputs), before[0])
        assert torch.equal(generate(model, inputs), before[1])
    assert handle.report is None


@pytest.mark.parametrize("name", ["qwen2-5-vl"])
def test_seconds_between_frames_count_in_the_positions(model):
    inputs = prompts(VIDEOS["behind the image"])
    inputs["second_per_grid_ts"] = torch.tensor([3.0, 2.0])
    kept = some_kept((8, 8), (3, 5))
    expected, plain = oracle_logits(model, inputs, kept), positions(model, inputs)
    with tokprune.apply(model, **keeping(kept)):
        assert_same(logits(model, inputs), expected)
    del inputs["second_per_grid_ts"]
    assert not torch.equal(positions(model, inputs), plain)  # or all this proves nothing


@pytest.mark.parametrize("name", ["qwen3-vl"])
@pytest.mark.parametrize("reduction", ["prune", "merge"])
def test_features_for_later_layers_leave_with_their_tokens(model, reduction):
    inputs = prompts([[(4, 8), (4, 4)], [(4, 4)]])
    with torch.no_grad():
        out = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True)
    whole = [torch.cat(list(layer)) if isinstance(layer, list | tuple) else layer for layer in out.deepstack_features]
    seen = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    with tokprune.apply(model, scorer="l2-norm", keep=0.5, reduction=reduction) as handle:
        logits(model, inputs)
    hook.remove()
    starts = [0, 8, 12]
    index = torch.cat(
        [start + which for start, which in zip(starts, kept_indices(inputs, handle.report.kept), strict=True)]
    )
    assert len(seen[0]["deepstack_visual_embeds"]) == 2
    for found, layer in zip(seen[0]["deepstack_visual_embeds"], whole, strict=True):
        assert torch.equal(found, layer[index])


def test_merging_by_hand(model):
    """The kept tokens of images of two sizes, each with what `tokprune.reductions.Merge` folds into it."""
    inputs = prompts([[(4, 8), (4, 4)], [(4, 6)]])
    with torch.no_grad():
        pooled = model.model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        ).pooler_output
    seen = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with tokprune.apply(model, scorer="l2-norm", keep=0.5, reduction="merge") as handle:
        logits(model, inputs)
    hook.remove()
    merged = []
    for image, row in zip(pooled, handle.report.kept, strict=True):
        kept = row[: len(image)]
        folded, _ = tokprune.reductions.Merge()(image[None], kept[None])
        merged.append(folded[0][kept])
    assert handle.report.sizes.sum(dim=1).tolist() == pytest.approx(token_counts(inputs))
    for image, row in ((0, 0), (1, 0), (2, 1)):
        where = [int((seen[0][row] - vector).abs().amax(dim=1).argmin()) for vector in merged[image]]
        assert where == list(range(where[0], where[0] + len(where)))
        assert (seen[0][row, where] - merged[image]).abs().max() < 1e-5


def refused(model, inputs, match, call=logits, error=UnsupportedCallError, **options):
    """The call is refused before anything runs, and the model goes on as before."""
    plain = prompts()
    before = logits(model, plain)
    with tokprune.apply(model, scorer="first", keep=2):
        ran = []
        hook = model.model.visual.register_forward_hook(lambda *_: ran.append(1))
        with pytest.raises(error, match=match):
            call(model, inputs, **options)
        hook.remove()
    assert torch.equal(logits(model, plain), before)
    return ran


def test_calls_that_cannot_be_pruned_rightly_are_refused(model):
    inputs = prompts()
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(inputs["input_ids"])
    without = {name: value for name, value in inputs.items() if name != "input_ids"}
    assert not refused(model, {**without, "inputs_embeds": embeddings}, "input_ids")
    four = torch.ones(2, 1, 19, 19, dtype=torch.bool)
    assert not refused(model, {**inputs, "attention_mask": four}, "attention_mask")
    assert not refused(model, inputs, "logits_to_keep", logits_to_keep=torch.tensor([0, 1]))
    features = {"mm_encoder_outputs": {"image": object()}}
    without = {name: value for name, value in inputs.items() if name != "pixel_values"}
    assert not refused(model, {**without, **features}, "computed earlier")


def test_placeholders_must_be_those_of_whole_images(model):
    inputs = prompts([[(4, 8)], [(4, 8)]])
    inputs["input_ids"][0, inputs["input_ids"][0].tolist().index(IMAGE)] = 20  # one too few, ...
    inputs["input_ids"][1, -1] = IMAGE  # ... and one too many
    refused(model, inputs, "whole images")


def test_images_keep_counts_that_all_of_them_have(model):
    inputs = prompts([[(4, 8), (4, 4)]])
    with (
        tokprune.apply(model, scorer="first", keep=6),
        pytest.raises(ValueError, match="more than the 4 tokens"),
    ):
        logits(model, inputs)


def test_a_copy_prunes_on_its_own(model):
    inputs = prompts()
    with tokprune.apply(model, scorer="first", keep=2):
        twin = copy.deepcopy(model)
        expected = logits(model, inputs)
    assert torch.equal(logits(twin, inputs), expected)
    assert not torch.equal(logits(model, inputs), expected)
