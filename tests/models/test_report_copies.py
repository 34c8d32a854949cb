"""A report counts images, and not the beams or samples that `generate` makes of each prompt."""

import pytest

import tokprune
from tokprune.testing.tiny_crossattention import sounds, tiny_whisper
from tokprune.testing.tiny_mllama import prompts as mllama_prompts
from tokprune.testing.tiny_mllama import tiny_mllama


@pytest.mark.parametrize("options", [{}, {"after": 1}, {"after": 1, "reduction": "merge"}])
@pytest.mark.parametrize("ways", [{"num_beams": 3}, {"num_beams": 1}])
def test_sounds_with_beams(options, ways):
    model, features = tiny_whisper(), {"input_features": sounds()["input_features"]}
    with tokprune.apply(model, scorer="received-attention", keep=4, **options) as handle:
        model.generate(**features, max_new_tokens=3)
        alone = handle.report
        model.generate(**features, max_new_tokens=3, **ways)
    assert handle.report.counts.tolist() == [4, 4]
    assert handle.report.kept.equal(alone.kept)
    assert handle.report.scores.shape == alone.scores.shape == (2, 12)
    assert (handle.report.sizes is None) == (options.get("reduction") is None)


def test_several_images_in_a_prompt_with_beams():
    model, inputs = tiny_mllama(), mllama_prompts(images=(2, 1))
    with tokprune.apply(model, scorer="received-attention", keep=4) as handle:
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
        alone = handle.report
        model.generate(**inputs, max_new_tokens=2, do_sample=False, num_beams=2)
    assert handle.report.kept.equal(alone.kept)
