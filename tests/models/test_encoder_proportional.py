"""Proportional attention after output pruning: a merged token counts for as many tokens as it stands for.

The oracle knows of no weights: in it each merged token stands in the sequence as often as tokens joined it.
"""

import copy

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

import tokprune
from tokprune import AdapterError, UnsupportedCallError
from tokprune.testing.tiny_blip2 import prompts as questions
from tokprune.testing.tiny_blip2 import tiny_blip2
from tokprune.testing.tiny_crossattention import (
    pictures,
    prompts,
    sounds,
    tiny_blip,
    tiny_vision_encoder_decoder,
    tiny_whisper,
)
from tokprune.testing.tiny_encoders import tiny_clip
from tokprune.testing.tiny_idefics import tiny_idefics

from . import image_oracle
from .encoder_oracle import Parts
from .families import idefics
from .families.crossattention import whisper_begins
from .families.encoders import FAMILIES, PARTS
from .families.family import GENERATE
from .oracle import oracle_logits
from .traces import traces

MERGE = {"scorer": "l2-norm", "reduction": "merge"}
STEPS = [({1: 4}, 1), ({1: 10, 3: 4}, (1, 3)), ({1: 12, 2: 8, 3: 4}, "every")]
"""Tokens left of 16 after each layer, and `after`."""
BY_NAME = {family.name: family for family in FAMILIES}


@pytest.mark.parametrize("name", list(PARTS))
@pytest.mark.parametrize(("counts", "after"), STEPS, ids=str)
def test_a_merged_token_attends_as_the_tokens_it_stands_for(name, counts, after):
    family = BY_NAME[name]
    model, inputs = family.build(), family.inputs()
    expected = PARTS[name].proportional(model, inputs, counts)
    with tokprune.apply(model, **MERGE, keep=4, after=after, attention="proportional") as handle:
        found = family.answer(model, inputs)
        assert handle.report.sizes.max() > 2
    assert torch.allclose(found, expected, atol=1e-5)
    with tokprune.apply(model, **MERGE, keep=4, after=after, attention="plain"):
        plain = family.answer(model, inputs)
    assert after == "every" or (plain - expected).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["clip", "timm with registers"])
def test_rows_of_a_batch_have_their_own_sizes(name):
    family = BY_NAME[name]
    model, inputs = family.build(), family.inputs()
    options = {**MERGE, "keep": 4, "after": 1, "attention": "proportional"}
    images = "x" if "x" in inputs else "pixel_values"
    with tokprune.apply(model, **options) as handle:
        both = family.answer(model, inputs)
        assert not torch.equal(*handle.report.sizes)
        swapped = family.answer(model, {**inputs, images: inputs[images].flip(0)})
    assert torch.allclose(both.flip(0), swapped, atol=1e-5)


@pytest.mark.parametrize("name", list(PARTS))
def test_sizes_of_one_change_nothing(name):
    family = BY_NAME[name]
    model, inputs = family.build(), family.inputs()
    expected = family.answer(model, inputs)
    with tokprune.apply(model, **MERGE, keep=1.0, after=1, attention="proportional"):
        assert torch.equal(family.answer(model, inputs), expected)
    assert traces(model) == traces(family.build())


# -- what reads the encoder's output -------------------------------------------------------------------------------


def merged(states, count, protected):
    """The target tokens of an encoder's output, merged by hand; each stands there as often as tokens joined it."""
    tokens = states[:, protected:]
    groups = [[[token] for token in range(tokens.shape[1])] for _ in tokens]
    kept = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    kept = kept.scatter(1, tokens.norm(dim=-1).argsort(dim=1, descending=True)[:, :count], True)
    singles, groups = image_oracle.cut(torch.cat([tokens[:, :1], tokens], dim=1), groups, kept, True)
    times = [torch.tensor([len(group) for group in row]) for row in groups]
    repeated = torch.stack([row[1:].repeat_interleave(n, dim=0) for row, n in zip(singles, times, strict=True)])
    return torch.cat([states[:, :protected], repeated], dim=1)


def _whisper(model, inputs):
    return merged(model.model.encoder(inputs["input_features"]).last_hidden_state, 4, 0)


def _pair(model, inputs):
    return merged(model.encoder(inputs["pixel_values"]).last_hidden_state, 4, 1)


def _fed(states):
    return lambda model, inputs: {
        "encoder_outputs": BaseModelOutput(last_hidden_state=states(model, inputs)),
        **{name: value for name, value in inputs.items() if name.startswith("decoder")},
    }


def _blip(model, inputs):
    """Arguments for BLIP's text decoder."""
    states = merged(model.vision_model(inputs["pixel_values"]).last_hidden_state, 4, 1)
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    mask = torch.ones(states.shape[:2], dtype=torch.long)
    return {**text, "encoder_hidden_states": states, "encoder_attention_mask": mask}


def _idefics(model, inputs):
    images = inputs["pixel_values"]
    states = merged(model.model.vision_model(images.flatten(0, 1)).last_hidden_state, 4, 1)
    given = {name: value for name, value in inputs.items() if name != "pixel_values"}
    return {**given, "image_encoder_embeddings": states.view(*images.shape[:2], *states.shape[1:])}


READERS = {
    "whisper": (tiny_whisper, sounds, _fed(_whisper), ""),
    "vit and gpt-2": (lambda: tiny_vision_encoder_decoder("vit", "gpt2"), pictures, _fed(_pair), ""),
    "vit and bert": (lambda: tiny_vision_encoder_decoder("vit", "bert"), pictures, _fed(_pair), ""),
    "vit and trocr": (lambda: tiny_vision_encoder_decoder("vit", "trocr", "eager"), pictures, _fed(_pair), ""),
    "blip": (tiny_blip, prompts, _blip, "text_decoder"),
    "idefics": (tiny_idefics, lambda: idefics.FAMILIES[0].several["two images in a row"](), _idefics, ""),
}
"""Model -> how it is made, its inputs, what its reader is given by hand, and where that reader is."""
PROPORTIONAL = {**MERGE, "keep": 4, "attention": "proportional"}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_attends_to_a_merged_token_as_to_the_tokens_it_stands_for(name):
    build, make, by_hand, reader = READERS[name]
    model, inputs = build(), make()
    with torch.no_grad():
        expected = model.get_submodule(reader)(**by_hand(model, inputs)).logits
        with tokprune.apply(model, **PROPORTIONAL) as handle:
            found = model(**inputs).logits
        with tokprune.apply(model, **{**PROPORTIONAL, "attention": "plain"}):
            plain = model(**inputs).logits
    real = inputs.get("attention_mask", torch.ones(found.shape[:2])).bool() if "blip" in name else ...
    assert handle.report.sizes.max() > 2
    assert torch.allclose(found[real], expected[real], atol=1e-5)
    assert (plain[real] - expected[real]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", GENERATE)
@pytest.mark.parametrize("name", ["vit and gpt-2", "vit and trocr"])
def test_and_in_every_step_of_a_generation(name, mode):
    build, make, by_hand, _ = READERS[name]
    model, inputs = build(), make()

    def generate(given):
        torch.manual_seed(3)
        with torch.no_grad():
            return model.generate(**given, max_new_tokens=6, **GENERATE[mode])

    expected = generate(by_hand(model, inputs))
    with tokprune.apply(model, **PROPORTIONAL):
        assert torch.equal(generate(inputs), expected)
    with tokprune.apply(model, **{**PROPORTIONAL, "attention": "plain"}):
        if mode != "two samples":  # where chance says more than the picture does
            assert not torch.equal(generate(inputs), expected)


# -- both: layers of the encoder, and then its reader ---------------------------------------------------------------


def _blip2_answer(model, inputs, states):
    fed = image_oracle.feed(model, inputs, model.vision_model.post_layernorm(states))
    return oracle_logits(model, inputs, fed)


def _whisper_answer(model, inputs, states):
    return model(**_fed(lambda *_: model.model.encoder.layer_norm(states))(model, inputs)).logits


def _pair_answer(model, inputs, states):
    return model(**_fed(lambda *_: model.encoder.layernorm(states))(model, inputs)).logits


def _layers(path):
    return lambda model: [lambda states, each=each: each(states, None) for each in model.get_submodule(path)]


BOTH = {
    "blip-2": (
        tiny_blip2,
        questions,
        Parts(
            lambda model, inputs: model.vision_model.embeddings(inputs["pixel_values"]),
            lambda model: model.vision_model.encoder.layers,
            _blip2_answer,
            1,
            None,
            pools=True,
        ),
        {"target": "image"},
    ),
    "whisper": (
        tiny_whisper,
        sounds,
        Parts(whisper_begins, _layers("model.encoder.layers"), _whisper_answer, 0, None, pools=True),
        {"inside": "encoder"},
    ),
    "vit and gpt-2": (
        lambda: tiny_vision_encoder_decoder("vit", "gpt2"),
        pictures,
        Parts(
            lambda model, inputs: model.encoder.embeddings(inputs["pixel_values"]),
            _layers("encoder.layers"),
            _pair_answer,
            1,
            None,
            pools=True,
        ),
        {"inside": "encoder"},
    ),
}
"""Model -> how it is made, its inputs, how to run it by hand, and where tokens leave."""


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("after", [1, (1, 2)], ids=str)
def test_sizes_go_from_the_encoders_layers_to_its_reader(name, after):
    build, make, parts, where = BOTH[name]
    model, inputs = build(), make()
    counts = {1: 4} if after == 1 else {1: 8 if name == "whisper" else 10, 2: 4}  # of 12 or 16, in equal steps
    expected = parts.proportional(model, inputs, counts)
    with torch.no_grad(), tokprune.apply(model, **PROPORTIONAL, **where, after=after) as handle:
        found = model(**inputs).logits
    real = inputs["attention_mask"].bool() if "attention_mask" in inputs else ...
    assert handle.report.sizes.max() > 2
    assert torch.allclose(found[real], expected[real], atol=1e-5)


# -- what cannot be had ---------------------------------------------------------------------------------------------


def test_blips_own_encoder_has_no_way_in_and_says_so():
    model = tiny_blip()
    before = traces(model)
    with pytest.raises(AdapterError, match=r"BlipEncoderLayer computes its logits by itself.*attention='plain'"):
        tokprune.apply(model, **PROPORTIONAL, inside="encoder", after=1)
    assert traces(model) == before
    with torch.no_grad(), tokprune.apply(model, **MERGE, keep=4, inside="encoder", after=1) as handle:
        model(**prompts())
    assert handle.policy.attention == "plain"
    assert handle.report.sizes.max() > 1


def test_gradient_checkpointing_would_forget_the_sizes():
    model = tiny_clip("CLIPForImageClassification").train()
    model.gradient_checkpointing_enable()
    with (
        tokprune.apply(model, **PROPORTIONAL, after=1),
        pytest.raises(UnsupportedCallError, match=r"computes attention again in backward.*attention='plain'"),
    ):
        model(**FAMILIES[1].inputs())


def test_what_was_encoded_earlier_keeps_its_sizes():
    model, inputs = tiny_whisper(), sounds()
    by_hand = _fed(_whisper)(model, inputs)
    with torch.no_grad(), tokprune.apply(model, **PROPORTIONAL):
        encoded = model.get_encoder()(inputs["input_features"])
        found = model(encoder_outputs=encoded, decoder_input_ids=inputs["decoder_input_ids"]).logits
    with torch.no_grad():
        assert torch.allclose(found, model(**by_hand).logits, atol=1e-5)


def test_a_copy_weighs_by_itself_and_nothing_stays():
    model, inputs = tiny_whisper(), sounds()
    before = traces(model)
    with torch.no_grad():
        with tokprune.apply(model, **PROPORTIONAL, inside="encoder", after=1) as handle:
            expected = model(**inputs).logits
            twin = copy.deepcopy(model)
        assert traces(model) == before
        assert not handle.active
        assert torch.equal(twin(**inputs).logits, expected)
        assert not torch.equal(model(**inputs).logits, expected)
