"""`tokprune.testing.tiny`: one door to a tiny model of every family, whose attention is far from uniform."""

from fnmatch import fnmatchcase

import pytest
import torch

from tokprune import list_adapters
from tokprune.errors import UnknownNameError
from tokprune.testing import tiny
from tokprune.testing.models import ROWS, tiny_model
from tokprune.testing.models.spread import SPREAD, logits_of


def test_every_adapter_has_a_row():
    assert set(list_adapters()) <= set(ROWS)


@pytest.mark.parametrize("family", ["blip2", "instructblip", "llava", "whisper", "mllama", "qwen2-5-vl", "dinov2"])
def test_a_model_runs_on_its_inputs_and_its_attention_spreads(family):
    model, inputs = tiny(family)
    for wanted in ROWS[family].spread:
        paths = [path for path, _ in model.named_modules() if fnmatchcase(path, wanted.paths)]
        for module in map(model.get_submodule, paths):
            found = logits_of(module, lambda: model(**inputs))
            if found is not None:
                spread = found[..., : wanted.first].std(dim=wanted.over).mean()
                assert SPREAD * 0.4 < spread < SPREAD * 2, module


def test_options_reach_the_model_and_its_inputs():
    model, inputs = tiny("blip2", text="t5", images=(2, 1), pads=(1, 0), attention="eager")
    assert model.config.text_config.model_type == "t5"
    assert model.config._attn_implementation == "eager"
    assert len(inputs["pixel_values"]) == 3
    assert tiny("llava", images=(1, 2, 0))[1]["input_ids"].shape[0] == 3
    assert tiny("mllama", tiles=2)[1]["pixel_values"].shape[2] == 2


def test_the_seed_changes_the_weights_and_nothing_else():
    (one, first), (other, second) = tiny("vit"), tiny("vit", seed=3)
    assert torch.equal(first["pixel_values"], second["pixel_values"])
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert torch.equal(one.classifier.weight, tiny_model("vit").classifier.weight)


def test_a_deep_language_model_has_attention_that_spreads():
    model, inputs = tiny("llava", depth=4, text="qwen3")
    layers = model.model.language_model.layers
    assert len(layers) == 4
    for layer in layers:
        found = logits_of(layer.self_attn, lambda: model(**inputs))
        assert SPREAD * 0.6 < found.std() < SPREAD * 1.6


def test_an_unknown_family_is_refused_with_the_near_names():
    with pytest.raises(UnknownNameError, match=r"'lava'.*Did you mean 'llava'"):
        tiny("lava")
    with pytest.raises(UnknownNameError, match="There are: aya-vision, blip,"):
        tiny("zzzzzz")


def test_an_unknown_option_is_refused_with_what_the_family_takes():
    with pytest.raises(UnknownNameError, match=r"'blip2'.*'txt'. Did you mean 'text'.*attention, depth, images"):
        tiny("blip2", txt="t5")


def test_an_unknown_kind_of_language_model_is_refused():
    with pytest.raises(UnknownNameError, match=r"text='gpt9'.*gemma, .*llama"):
        tiny("llava", text="gpt9")
    with pytest.raises(UnknownNameError, match=r"text='llava'. Did you mean 'llama'.*llama, opt, t5"):
        tiny("blip2", text="llava")
