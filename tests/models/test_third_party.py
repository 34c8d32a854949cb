"""A family of somebody else's, as a row of their own: all three mechanisms prune it."""

from typing import ClassVar

import pytest
import torch
import transformers

import tokprune
from tokprune.adapters import CrossAttentionAdapter, CrossFamily, EmbedMergeAdapter, find_attention, find_crossings
from tokprune.testing import tiny


class TheirVlm(transformers.LlavaForConditionalGeneration):
    """A model of another library, with features of images in its prompt."""


class TheirSpeech(transformers.WhisperForConditionalGeneration):
    """A model of another library, whose decoder cross-attends to an encoder."""


class TheirPromptFamily(EmbedMergeAdapter):
    name: ClassVar[str] = "their-vlm"
    module: ClassVar[str] = __name__
    model: ClassVar[str] = "TheirVlm"
    arguments: ClassVar[tuple[str, ...]] = ("pixel_values", "vision_feature_layer", "vision_feature_select_strategy")


class TheirCrossFamily(CrossAttentionAdapter):
    name: ClassVar[str] = "their-speech"
    models: ClassVar[dict[str, tuple[str, ...]]] = {__name__: ("TheirSpeech",)}
    target: ClassVar[str] = "audio"

    def family(self, model):
        return CrossFamily(
            name=self.name,
            encoder="model.encoder",
            decoder="model.decoder",
            crossings=find_crossings(model, "model.decoder"),
            attention=find_attention(model, "model.encoder"),
        )


CASES = {
    "prompt": ("llava", TheirVlm, TheirPromptFamily(), {"scorer": "received-attention"}),
    "decoder": ("llava", TheirVlm, TheirPromptFamily(), {"scorer": "text-attention", "after": 1}),
    "output": ("whisper", TheirSpeech, TheirCrossFamily(), {"scorer": "received-attention"}),
}


@pytest.mark.parametrize("mechanism", CASES)
def test_a_row_of_a_third_party_prunes_as_the_built_in_one_does(mechanism):
    name, kind, adapter, options = CASES[mechanism]
    model, inputs = tiny(name)
    answers = []
    for cls, given in ((type(model), None), (kind, adapter)):
        model.__class__ = cls
        assert given is None or given.matches(model)
        with tokprune.apply(model, keep=0.5, adapter=given, **options) as handle, torch.no_grad():
            answers.append(model(**inputs).logits)
        assert handle.report.length_after < handle.report.length_before
    assert torch.equal(*answers)
