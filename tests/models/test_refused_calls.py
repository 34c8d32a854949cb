"""Calls that are known to go wrong are refused before anything runs, and the model is fine afterwards."""

import pytest
import torch

import tokprune
from tokprune import UnsupportedCallError
from tokprune.testing.tiny_blip2 import IMAGE, QUERIES, prompts

from .calls import generate, logits
from .prompts import as_embeddings


def with_placeholders(inputs, counts):
    """The same prompts with `counts[row]` image placeholders in each row."""
    ids = inputs["input_ids"].clone()
    for row, count in enumerate(counts):
        ids[row] = 20
        ids[row, :count] = IMAGE
    return {**inputs, "input_ids": ids}


WRONG = {
    "one placeholder missing": ((7, 8), "row 0 .* 7 image placeholders"),
    "one too many": ((8, 9), "row 1 .* 9 image placeholders"),
    "right in total": ((4, 12), "row 0 .* 4 image placeholders"),
    "right in total, other way round": ((12, 4), "row 0 .* 12 image placeholders"),
    "an image without a place": ((8, 0), r"placeholders for 1 images \(per row: \[1, 0\]\), but 2 images"),
    "no places at all": ((0, 0), "placeholders for 0 images .* but 2 images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_placeholders_are_counted_row_by_row_before_anything_runs(either, laid, case):
    counts, message = WRONG[case]
    wrong, ran = with_placeholders(laid, counts), []
    with tokprune.apply(either, keep=3):
        expected = logits(either, laid), generate(either, laid)
        spy = either.vision_model.register_forward_pre_hook(lambda module, args: ran.append(module))
        with pytest.raises(UnsupportedCallError, match=message):
            logits(either, wrong)
        with pytest.raises(UnsupportedCallError, match=message):
            generate(either, wrong)
        spy.remove()
        assert not ran
        assert torch.equal(logits(either, laid), expected[0])
        assert torch.equal(generate(either, laid), expected[1])


@pytest.mark.parametrize("images", [1, 3])
def test_images_and_places_must_be_equally_many(model, inputs, images):
    wrong = {**inputs, "pixel_values": torch.randn(images, 3, 16, 16)}
    with tokprune.apply(model, keep=3):
        with pytest.raises(UnsupportedCallError, match=f"placeholders for 2 images .* but {images} images"):
            logits(model, wrong)
        with pytest.raises(UnsupportedCallError, match=f"but {images} images"):
            generate(model, wrong)


def test_embedded_placeholders_are_counted_too(model, inputs):
    embedded = as_embeddings(model, with_placeholders(inputs, (7, 8)))
    with tokprune.apply(model, keep=3):
        with pytest.raises(UnsupportedCallError, match=r"row 0 .* 7 image placeholders"):
            logits(model, embedded, input_ids=None)
        with pytest.raises(UnsupportedCallError, match=r"row 0 .* 7 image placeholders"):
            generate(model, embedded)


def test_without_pruning_such_a_batch_silently_mixes_rows(model, inputs):
    logits(model, with_placeholders(inputs, (4, 12)))  # no complaint: that is why tokprune counts


def test_features_computed_earlier_have_no_votes(model, inputs):
    earlier = {"image": model.get_image_features(inputs["pixel_values"])}
    with tokprune.apply(model, keep=3):
        with pytest.raises(UnsupportedCallError, match="mm_encoder_outputs"):
            logits(model, {**inputs, "pixel_values": None}, mm_encoder_outputs=earlier)
        assert logits(model, inputs).isfinite().all()


def test_images_alone_and_text_alone_outside_the_model_are_left_alone(model, inputs):
    with torch.no_grad():
        expected = model.get_image_features(inputs["pixel_values"]).pooler_output
        with tokprune.apply(model, keep=3):
            assert torch.equal(model.get_image_features(inputs["pixel_values"]).pooler_output, expected)
    assert expected.shape[1] == QUERIES


def test_the_bare_language_model_is_left_alone(opt):
    ids = torch.randint(10, 90, (2, 9))
    with torch.no_grad():
        expected = opt.language_model(input_ids=ids).logits
        embeds = opt.get_input_embeddings()(ids)
        with tokprune.apply(opt, keep=3):
            logits(opt, prompts("opt"))
            assert torch.equal(opt.language_model(input_ids=ids).logits, expected)
            assert torch.equal(opt.language_model(inputs_embeds=embeds).logits, expected)
            assert opt.language_model.generate(ids, max_new_tokens=3).shape[1] <= 12
