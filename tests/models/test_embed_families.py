"""What is special to some families that merge image tokens into their prompt."""

import pytest
import torch

import tokprune
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.testing.tiny_embed import IMAGE, pixels, prompts, tiles

from .embed_oracle import hand_fed, of_whole, oracle_logits, oracle_new_tokens
from .families.embedmerge import FAMILIES, both_ways
from .families.family import assert_same, some_kept
from .keeping import keeping
from .test_families import lent

ALL = {family.name: family for family in FAMILIES}
JOINED = ["vipllava", "paligemma", "gemma3", "internvl", "aya-vision", "smolvlm"]


@pytest.mark.parametrize("name", JOINED)
def test_beams_over_images_that_keep_different_numbers_where_features_come_in_one_tensor(name):
    family = ALL[name]
    model, inputs = lent(family), family.inputs()
    kept = some_kept(family.tokens, (2, 5))
    expected = oracle_new_tokens(model, inputs, kept, family.tokens, {"max_new_tokens": 4, "num_beams": 3})
    with tokprune.apply(model, **keeping(kept)), torch.no_grad():
        found = model.generate(**inputs, max_new_tokens=4, num_beams=3)
    assert torch.equal(found[:, inputs["input_ids"].shape[1] :], expected)


@pytest.mark.parametrize("name", ["paligemma", "gemma3", "idefics2", "mistral3", "llava-next"])
def test_kept_tokens_may_keep_their_positions(name):
    family = ALL[name]
    model, inputs = lent(family), family.inputs()
    kept = some_kept(family.tokens, (2, 5))
    start = {"position_ids": 1} if name == "paligemma" else {}
    fed = hand_fed(model, inputs, kept, family.tokens, positions="preserve")
    fed["position_ids"] = fed["position_ids"] + start.get("position_ids", 0)
    expected = of_whole(model, inputs, kept, family.tokens, fed)
    options = {"max_new_tokens": 4}
    words = oracle_new_tokens(model, inputs, kept, family.tokens, options, positions="preserve")
    with tokprune.apply(model, **keeping(kept, family.tokens, positions="preserve")):
        assert_same(family.answer(model, inputs), expected)
        with torch.no_grad():
            found = model.generate(**inputs, **options)
    assert torch.equal(found[:, inputs["input_ids"].shape[1] :], words)
    assert (expected - oracle_logits(model, inputs, kept, family.tokens)).nan_to_num().abs().max() > 1e-4


@pytest.mark.parametrize("name", ["gemma3", "aya-vision", "mistral3"])
def test_hiding_is_refused_where_the_language_model_has_a_window(name):
    with pytest.raises(AdapterError, match="window"):
        tokprune.apply(lent(ALL[name]), scorer="l2-norm", keep=3, reduction="mask")


def test_hiding_is_pruning_where_tokens_see_each_other_both_ways():
    family = ALL["paligemma"]
    model, inputs, kept = lent(family), family.inputs(), some_kept((16, 16), (3, 3))
    with tokprune.apply(model, **keeping(kept, positions="preserve")):
        pruned = family.answer(model, inputs)
    with tokprune.apply(model, **keeping(kept, positions="preserve", reduction="mask")):
        hidden = family.answer(model, inputs)
    assert (hidden[:, -4:] - pruned[:, -4:]).abs().max() < 1e-4


def test_blocks_that_see_each_other_shrink_with_their_tokens():
    family = ALL["gemma3"]
    model, kept = lent(family), some_kept((16, 16, 16), (2, 5, 3))
    inputs = both_ways([[16, 16], [16]], pixels(3))
    expected = oracle_logits(model, inputs, kept, (16, 16, 16))
    with tokprune.apply(model, **keeping(kept)):
        assert_same(family.answer(model, inputs), expected)
    causal = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    with tokprune.apply(model, **keeping(kept)):
        assert (family.answer(model, causal) - expected).nan_to_num().abs().max() > 1e-3


def test_the_report_tells_images_of_different_shape_apart():
    family = ALL["llava-next"]
    model = lent(family)
    inputs = prompts([[14, 10], [16, 14]], tiles((16, 32), (16, 16), (32, 16), (16, 32)))
    with tokprune.apply(model, scorer="received-attention", keep=0.5) as handle:
        family.answer(model, inputs)
    report = handle.report
    assert report.kept.shape == (4, 16)
    assert report.counts.tolist() == [7, 5, 8, 7]
    for image, tokens in enumerate((14, 10, 16, 14)):
        assert not report.kept[image, tokens:].any()
        assert report.scores[image, tokens:].isnan().all()
        scores, kept = report.scores[image, :tokens], report.kept[image, :tokens]
        assert not scores.isnan().any()
        assert scores[kept].min() >= scores[~kept].max()
    newlines = [8, 13]  # of the first image: 4 tokens of the whole, then rows of 4 and a newline
    assert report.scores[0, newlines].tolist() == [0, 0]
    assert not report.kept[0, newlines].any()
    assert report.length_after == report.length_before - 15


def test_an_image_is_merged_among_its_own_tokens():
    family = ALL["mistral3"]
    model, inputs = lent(family), family.inputs()
    with tokprune.apply(model, scorer="l2-norm", keep=0.5, reduction="merge") as handle:
        family.answer(model, inputs)
    assert handle.report.sizes.sum(dim=1).tolist() == [16, 8]
    assert (handle.report.sizes[1, 8:] == 0).all()


def test_a_keep_count_that_one_image_has_not_is_refused():
    family = ALL["mistral3"]
    model, inputs = lent(family), family.inputs()
    before = family.answer(model, inputs)
    with tokprune.apply(model, scorer="l2-norm", keep=10), pytest.raises(ValueError, match="keep=10"):
        family.answer(model, inputs)
    assert torch.equal(family.answer(model, inputs), before)


def test_placeholders_that_do_not_fit_tiles_are_refused():
    family = ALL["llava-next"]
    model = lent(family)
    inputs = prompts([[16], [14]], tiles((16, 32), (32, 16)))  # the right number, in the wrong rows
    assert int((inputs["input_ids"] == IMAGE).sum()) == 30
    with tokprune.apply(model, scorer="l2-norm", keep=3), pytest.raises(UnsupportedCallError, match="placeholders"):
        family.answer(model, inputs)
