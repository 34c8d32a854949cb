"""A release of transformers that names things otherwise is refused at apply, and nothing is changed."""

import functools
import inspect

import pytest
import transformers

import tokprune
from tokprune.adapters.upstream import CACHE_NAMES, since
from tokprune.errors import AdapterError

from .families.every import FAMILIES
from .traces import traces

BY_NAME = {family.name: family for family in FAMILIES}
CACHE = CACHE_NAMES[0 if since("5.24") else 1]


def renamed(monkeypatch, owner, method, argument):
    """From now on the class's method takes `argument` under another name, and swallows the old one."""
    original = getattr(type(owner), method)

    @functools.wraps(original)
    def other(*args, **kwargs):
        return original(*args, **kwargs)

    signature = inspect.signature(original)
    found = [p.replace(name="renamed") if name == argument else p for name, p in signature.parameters.items()]
    assert found != list(signature.parameters.values()), f"{method} takes no {argument}"
    other.__signature__ = signature.replace(parameters=found)
    monkeypatch.setattr(defined_in(type(owner), method), method, other)


def gone(monkeypatch, owner, method, _):
    """From now on the class has no such method."""
    monkeypatch.delattr(defined_in(type(owner), method), method)


def defined_in(kind, name):
    return next(cls for cls in kind.__mro__ if name in vars(cls))


# Family, more options, path of the module, its method or attribute, the argument that is renamed (None: it is gone).
SABOTAGE = {
    "delegated: pixels": ("blip2 with opt, query tokens", {}, "", "forward", "pixel_values"),
    "delegated: labels": ("blip2 without generate with opt, query tokens", {}, "", "forward", "labels"),
    "delegated: embeddings": ("blip2 with opt, query tokens", {}, "language_model", "forward", "inputs_embeds"),
    "delegated: cache": ("blip2 with t5, query tokens", {}, "language_model", "forward", CACHE),
    "delegated: positions": (
        "instructblip with llama, query tokens",
        {"positions": "preserve"},
        "language_model",
        "forward",
        "position_ids",
    ),
    "delegated: placeholders": ("blip2 with opt, query tokens", {}, "", "get_placeholder_mask", None),
    "delegated: bias": (
        "blip2 with t5, query tokens",
        {"positions": "preserve"},
        "language_model.encoder.block.0.layer.0.SelfAttention",
        "compute_bias",
        None,
    ),
    "heads": ("blip2-retrieval with the contrastive head, query tokens", {}, "qformer", "forward", "query_embeds"),
    "embedmerge: cache": ("llava", {}, "", "forward", CACHE),
    "embedmerge: features": ("gemma3", {}, "model", "get_image_features", None),
    "embedmerge: pixels": ("paligemma", {}, "model", "get_image_features", "pixel_values"),
    "embedmerge: grid positions": ("qwen2-vl", {}, "model", "get_rope_index", "mm_token_type_ids"),
    "inside: cache": ("llava, inside the language model", {}, "model.language_model.layers.3", "forward", CACHE),
    "inside: positions": (
        "llava, inside the language model",
        {},
        "model.language_model.layers.2",
        "forward",
        "position_embeddings",
    ),
    "inside: features": ("llava, inside the language model", {}, "model", "get_image_features", None),
    "inside: checkpoints": (
        "llava, inside the language model",
        {},
        "model.language_model.layers.0",
        "gradient_checkpointing",
        None,
    ),
    "crossing: cache": ("idefics inside the decoder", {}, "model", "forward", CACHE),
    "crossing: states": (
        "whisper inside the decoder",
        {},
        "model.decoder.layers.1.encoder_attn",
        "forward",
        "key_value_states",
    ),
    "crossing: gate": ("mllama", {}, "model.language_model", "forward", "full_text_row_masked_out_mask"),
    "crossing: tiles": ("mllama", {}, "model.vision_model", "forward", "aspect_ratio_mask"),
    "crossing: encoded before": ("vit and gpt-2", {}, "", "forward", "encoder_outputs"),
    "layercut: checkpoints": ("clip", {}, "vision_model.encoder.layers.0", "gradient_checkpointing", None),
    "layercut: intermediates": ("timm with registers", {}, "", "forward_intermediates", "output_fmt"),
    "layercut: features": ("timm with registers", {}, "", "forward_features", None),
}
if since("5.20"):
    SABOTAGE["delegated: encoded before"] = ("blip2 with t5, query tokens", {}, "", "forward", "mm_encoder_outputs")
    SABOTAGE["embedmerge: encoded before"] = ("internvl", {}, "", "forward", "mm_encoder_outputs")


@pytest.mark.parametrize("case", SABOTAGE)
def test_what_a_release_has_renamed_is_refused_by_name(case, monkeypatch):
    name, options, path, member, argument = SABOTAGE[case]
    family = BY_NAME[name]
    model = family.build()
    before = traces(model)
    owner = model.get_submodule(path)
    (gone if argument is None else renamed)(monkeypatch, owner, member, argument)
    library = "timm" if "timm" in name else f"transformers {transformers.__version__}"
    with pytest.raises(AdapterError) as error:
        tokprune.apply(model, **{"scorer": "first", "keep": 3, "target": family.target, **family.options, **options})
    for word in (type(model).__name__, library, type(owner).__name__, repr(argument or member)):
        assert word in str(error.value)
    assert traces(model) == before


@pytest.mark.parametrize("option", ["cache_implementation", "max_length"])
def test_an_option_of_a_generation_that_was_renamed(option, monkeypatch):
    model = BY_NAME["llava"].build()
    del model.generation_config.__dict__[option]
    with pytest.raises(AdapterError, match=rf"GenerationConfig has no '{option}'"):
        tokprune.apply(model, scorer="first", keep=3)


def test_an_entry_of_the_configuration_that_was_renamed(monkeypatch):
    model = BY_NAME["llava"].build()
    del model.config.__dict__["vision_feature_layer"]
    monkeypatch.delattr(type(model.config), "vision_feature_layer", raising=False)
    with pytest.raises(AdapterError, match=r"adapter 'llava': Llava.* of transformers .* 'vision_feature_layer'"):
        tokprune.apply(model, scorer="first", keep=3)


def test_what_a_subclass_takes_by_place_is_what_the_library_takes():
    model = BY_NAME["llava"].build()

    class Other(type(model)):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    model.__class__ = Other
    tokprune.apply(model, scorer="first", keep=3).remove()
