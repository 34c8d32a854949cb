"""Calls of models with cross-attention: other parts, several images and tiles, caches, losses, copies, threads."""

import copy
import gc
import io
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import DynamicCache

import tokprune
from tokprune.adapters.upstream import cache_of
from tokprune.errors import UnsupportedCallError
from tokprune.functional import merge_tokens
from tokprune.testing import tiny_idefics, tiny_mllama
from tokprune.testing.tiny_crossattention import (
    BOS,
    pictures,
    prompts,
    sounds,
    tiny_vision_encoder_decoder,
)

from .calls import CACHE
from .crossattention import INPUTS, tiny
from .families.crossattention import BERT, CAPTIONS, GPT2, TROCR, WHISPER, shrunk
from .families.family import some_kept
from .families.idefics import LAYERS as IDEFICS
from .families.mllama import LAYERS as MLLAMA
from .keeping import keeping
from .masking import Masking

NAMES = ["captions", "whisper", "pair", "mllama", "idefics"]
PLACES = pytest.mark.parametrize("options", [{}, {"after": 1}], ids=["in front", "inside"])


def logits(model, inputs):
    """The logits of a forward."""
    with torch.no_grad():
        return model(**inputs).logits


def real(found, inputs):
    """The logits of text that is no padding."""
    mask = inputs.get("attention_mask", inputs.get("decoder_attention_mask"))
    return found if mask is None else found[mask.bool()]


@pytest.mark.parametrize(
    ("encoder", "decoder", "paths", "name", "tokens", "protected"),
    [
        ("vit", "bert", BERT, "attention_mask", 16, 1),
        ("vit", "trocr", TROCR, "attention_mask", 16, 1),
        ("vit", "mbart", TROCR, "attention_mask", 16, 1),
        ("deit", "gpt2", GPT2, "encoder_attention_mask", 16, 2),
        ("dinov2", "gpt2", GPT2, "encoder_attention_mask", 16, 1),
        ("beit", "gpt2", GPT2, "encoder_attention_mask", 16, 1),
        ("donut-swin", "mbart", TROCR, "attention_mask", 4, 0),
    ],
)
def test_other_encoders_and_decoders(encoder, decoder, paths, name, tokens, protected):
    eager = {"trocr"} & {decoder} or {"beit", "donut-swin"} & {encoder}
    model = tiny_vision_encoder_decoder(encoder, decoder, "eager" if eager else "sdpa")
    inputs, kept = pictures(), some_kept((tokens, tokens), (2, 3))
    before = logits(model, inputs)
    for options, masked in (({}, paths), ({"after": 1}, paths[1:])):
        with Masking(model, masked, name, kept, protected):
            expected = logits(model, inputs)
        with tokprune.apply(model, **keeping(kept), **options) as handle:
            found = logits(model, inputs)
        assert (real(found, inputs) - real(expected, inputs)).abs().max() < 1e-5
        assert (real(found, inputs) - real(before, inputs)).abs().max() > 1e-3
        assert handle.report.length_before == tokens + protected
    with tokprune.apply(model, scorer="l2-norm", keep=2):
        model.generate(**inputs, max_new_tokens=3)


@PLACES
@pytest.mark.parametrize("counts", [(3,) * 8, (1, 2, 3, 4, 5, 6, 7, 8)], ids=["even", "uneven"])
def test_tiles_and_images_of_a_row(options, counts):
    model, inputs = tiny("tiles"), INPUTS["tiles"]()
    inputs["cross_attention_mask"][0, :2] = 0  # words in front of the images see nothing, and so read everything
    kept = some_kept((16,) * 8, counts)
    with Masking(model, MLLAMA[1:] if options else MLLAMA, "attention_mask", kept, 1, rows=2):
        expected = logits(model, inputs)
        with torch.no_grad():
            written = model.generate(**inputs, max_new_tokens=4, num_beams=2)
    fixed = {} if len(set(counts)) > 1 else {"selector": "top-k", "keep": 3}
    with tokprune.apply(model, **{**keeping(kept), **fixed}, **options) as handle:
        assert (real(logits(model, inputs), inputs) - real(expected, inputs)).abs().max() < 1e-5
        assert torch.equal(handle.report.kept, kept)
        assert handle.report.length_before == 2 * 2 * 17
    beams = kept.view(2, 4, 16).repeat_interleave(2, dim=0).flatten(0, 1)
    with tokprune.apply(model, **{**keeping(beams), **fixed}, **options), torch.no_grad():
        assert torch.equal(model.generate(**inputs, max_new_tokens=4, num_beams=2), written)


@PLACES
def test_several_images_of_an_idefics_row(options):
    model, inputs = tiny("idefics"), tiny_idefics.prompts(images=(2, 1))
    kept = some_kept((16,) * 4, (4,) * 4)
    with Masking(model, IDEFICS[1:] if options else IDEFICS, "attention_mask", kept, 1, rows=2):
        expected = logits(model, inputs)
    with tokprune.apply(model, **{**keeping(kept), "selector": "top-k", "keep": 4}, **options):
        assert (real(logits(model, inputs), inputs) - real(expected, inputs)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "paths", "argument", "protected"),
    [("captions", CAPTIONS, "encoder_attention_mask", 1), ("whisper", WHISPER, "attention_mask", 0)],
)
@PLACES
def test_hiding_is_masking(name, paths, argument, protected, options):
    model, inputs = tiny(name), INPUTS[name]()
    tokens = 16 if protected else 12
    kept = some_kept((tokens, tokens), (3, 3))
    with Masking(model, paths[1:] if options else paths, argument, kept, protected):
        expected = logits(model, inputs)
    with tokprune.apply(model, **keeping(kept), reduction="mask", **options) as handle:
        assert torch.equal(real(logits(model, inputs), inputs), real(expected, inputs))
    assert handle.report.length_before == handle.report.length_after
    with tokprune.apply(model, scorer="first", keep=1.0, reduction="mask", **options):
        kept_all = logits(model, inputs)
    assert torch.equal(kept_all, logits(model, inputs))


def test_merging_is_that_of_the_encoders_output():
    model, inputs = tiny("captions"), prompts()
    kept = some_kept((16, 16), (3, 3))
    with torch.no_grad():
        hidden = model.vision_model(inputs["pixel_values"]).last_hidden_state
        merged, sizes = merge_tokens(hidden[:, 1:], kept)
        image = shrunk(torch.cat([hidden[:, :1], merged], dim=1), kept, 1)
        expected = model.text_decoder(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], encoder_hidden_states=image
        ).logits
    policy = {**keeping(kept), "selector": "top-k", "keep": 3, "reduction": "merge", "attention": "plain"}
    with tokprune.apply(model, **policy) as handle:
        assert torch.equal(logits(model, inputs), expected)
    assert torch.equal(handle.report.sizes, sizes)


@PLACES
@pytest.mark.parametrize("name", NAMES)
def test_steps_with_a_cache_go_on_from_what_stayed(name, options):
    model, inputs = tiny(name), INPUTS[name]()
    ids = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    config = {"config": model.config.get_text_config(decoder=True)} if name in ("mllama", "idefics") else {}
    with torch.no_grad(), tokprune.apply(model, scorer="l2-norm", keep=4, **options) as handle:
        whole = {key: value for key, value in inputs.items() if "attention_mask" not in key or value.dim() > 2}
        expected = model(**whole).logits
        if name == "captions":
            return  # its outer model gives no cache; `generate` is compared in the families' tests
        first = {
            key: value[:, :4] if key in (ids, "cross_attention_mask", "image_attention_mask") else value
            for key, value in whole.items()
        }
        cache = DynamicCache(**config) if config else None
        begun = model(**first, **{CACHE: cache}, use_cache=True)
        handle.report = None
        rest = {ids: inputs[ids][:, 4:], CACHE: cache_of(begun)}
        for key in ("cross_attention_mask", "image_attention_mask"):
            if key in whole:
                rest[key] = whole[key] if name == "mllama" else whole[key][:, 4:]  # it cuts its rows out itself
        if name == "idefics":
            newer = hasattr(begun, "image_outputs")
            rest["image_encoder_embeddings"] = (
                begun.image_outputs.last_hidden_state if newer else begun.image_hidden_states
            )
        elif name != "mllama":
            rest["encoder_outputs"] = (begun.encoder_last_hidden_state,)
        found = model(**rest).logits
        assert handle.report is None  # nothing was chosen again
    assert (found - expected[:, 4:]).abs().max() < 1e-5


def test_layers_behind_the_cut_cache_less_and_nothing_is_remembered_for_longer():
    model = tiny("mllama")
    with torch.no_grad(), tokprune.apply(model, scorer="first", keep=4, after=1):
        output = model.generate(**tiny_mllama.prompts(), max_new_tokens=3, return_dict_in_generate=True)
        lengths = [cache_of(output).layers[layer].keys.shape[2] for layer in tiny_mllama.CROSSING]
        assert lengths == [17, 5, 5]
        gone = weakref.ref(cache_of(output))
        gc.disable()
        try:
            del output
            assert gone() is None  # at once: keys and values are large
        finally:
            gc.enable()


@PLACES
def test_text_alone_is_left_alone(options):
    model, inputs = tiny("mllama"), tiny_mllama.prompts()
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    expected = logits(model, text)
    with torch.no_grad():
        written = model.generate(**text, max_new_tokens=3)
        with tokprune.apply(model, scorer="first", keep=2, **options) as handle:
            assert torch.equal(logits(model, text), expected)
            assert torch.equal(model.generate(**text, max_new_tokens=3), written)
    assert handle.report is None


@pytest.mark.parametrize("options", [{"scorer": "l2-norm"}, {"scorer": "catp-vote"}], ids=["in front", "inside"])
def test_images_may_come_after_text_alone(options):
    model, inputs = tiny("mllama"), tiny_mllama.prompts(pads=(0, 0))
    text = torch.tensor([[7, 8], [9, 10]])

    def answered():
        """Text alone, and behind it a prompt with an image."""
        with torch.no_grad():
            cache = cache_of(model(input_ids=text, **{CACHE: DynamicCache(config=model.config.text_config)}))
            unseen = torch.zeros(2, 2, 1, 1, dtype=torch.long)
            mask = {
                "attention_mask": torch.ones(2, 8, dtype=torch.long),
                "cross_attention_mask": torch.cat([unseen, inputs["cross_attention_mask"]], dim=1),
            }
            return model(**{**inputs, **mask}, **{CACHE: cache}).logits

    before = answered()
    with tokprune.apply(model, keep=4, **options) as handle:
        found = answered()
        kept = handle.report.kept
    with Masking(model, MLLAMA if options["scorer"] == "l2-norm" else MLLAMA[1:], "attention_mask", kept, 1):
        expected = answered()
    assert (found - expected).abs().max() < 1e-5
    assert (found - before).abs().max() > 1e-3


@PLACES
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_that_of_its_logits_and_has_gradients(name, options):
    model, inputs = copy.deepcopy(tiny(name)), INPUTS[name]()
    ids = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    labels = inputs[ids].clone()
    plain = model(**inputs, labels=labels).loss
    with tokprune.apply(model, scorer="l2-norm", keep=4, **options):
        output = model(**inputs, labels=labels)
        output.loss.backward()
    shift = 0 if name in ("whisper", "pair") else 1
    found, wanted = output.logits[:, : labels.shape[1] - shift].flatten(0, 1), labels[:, shift:].flatten()
    options = {"label_smoothing": model.text_decoder.label_smoothing} if name == "captions" else {}
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(found, wanted, **options))
    assert abs(output.loss - plain) > 1e-6
    seen = [p for path, p in model.named_parameters() if "vision_model" in path or "encoder" in path or "cross" in path]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in seen)


@PLACES
def test_a_saved_model_prunes_as_before(options):
    model, inputs = copy.deepcopy(tiny("mllama")), tiny_mllama.prompts()
    with tokprune.apply(model, scorer="l2-norm", keep=4, **options):
        expected = logits(model, inputs)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
    assert torch.equal(logits(again, inputs), expected)
    assert torch.equal(again.generate(**inputs, max_new_tokens=2), again.generate(**inputs, max_new_tokens=2))


@PLACES
def test_threads_do_not_mix(options):
    model = tiny("pair")
    batches = [pictures(seed=seed, pads=(0,) * rows) for seed, rows in ((1, 1), (2, 2), (3, 3), (4, 1))]
    with tokprune.apply(model, scorer="l2-norm", keep=4, **options), torch.no_grad():
        alone = [model.generate(**batch, max_new_tokens=4) for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(2):
                together = list(pool.map(lambda batch: model.generate(**batch, max_new_tokens=4), batches))
                assert all(map(torch.equal, alone, together))


@PLACES
def test_two_models_in_turn_do_not_mix(options):
    one, other = tiny("pair"), tiny_vision_encoder_decoder(seed=1)
    expected = []
    for model, keep in ((one, 3), (other, 5)):
        with tokprune.apply(model, scorer="l2-norm", keep=keep, **options):
            expected.append(logits(model, pictures()))
    with (
        tokprune.apply(one, scorer="l2-norm", keep=3, **options),
        tokprune.apply(other, scorer="l2-norm", keep=5, **options),
    ):
        assert [torch.equal(logits(m, pictures()), e) for m, e in zip((one, other), expected, strict=True)] == [
            True
        ] * 2


@PLACES
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_an_exception_in_the_decoder_leaves_nothing_behind(options, error):
    model, inputs = tiny("pair"), pictures()

    def broken(*_):
        raise error("in the middle")

    with tokprune.apply(model, scorer="received-attention", keep=4, **options):
        expected = logits(model, inputs)
        hook = model.decoder.transformer.h[2].register_forward_pre_hook(broken)
        with pytest.raises(error):
            model.generate(**inputs, max_new_tokens=2)
        with pytest.raises(error):
            logits(model, inputs)
        hook.remove()
        assert torch.equal(logits(model, inputs), expected)
        if not options:  # no generation is under way any more, so that calls are looked at again
            with pytest.raises(UnsupportedCallError):
                model(encoder_outputs=(torch.zeros(2, 17, 32),), decoder_input_ids=inputs["decoder_input_ids"])


def test_blip_writes_into_no_prompt_of_the_callers():
    model, inputs = tiny("captions"), prompts()
    before = inputs["input_ids"].clone()
    with tokprune.apply(model, scorer="first", keep=2):
        model.generate(**inputs, max_new_tokens=2)
        model.generate(*inputs.values(), max_new_tokens=2)
    assert torch.equal(inputs["input_ids"], before)
    assert before[0, 0] != BOS


def test_a_vote_by_cross_attention_is_held_inside_unless_told_otherwise():
    model, inputs = tiny("captions"), prompts()
    answers = []
    for options in ({}, {"after": 1}, {"after": 2}):
        with tokprune.apply(model, scorer="catp-vote:layers=first", keep=3, **options):
            answers.append(logits(model, inputs))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[1], answers[2])


@PLACES
def test_long_sound_is_pruned_segment_by_segment(options):
    model = copy.deepcopy(tiny("whisper"))
    model.generation_config.no_timestamps_token_id = 79  # what comes behind it are timestamps
    sound = sounds(rows=1)["input_features"]
    other = sounds(rows=1, seed=9)["input_features"]
    long = torch.cat([sound, other], dim=2)
    asked = {"return_timestamps": True, "max_new_tokens": 6, "return_segments": True}
    seen = []
    with tokprune.apply(model, scorer="l2-norm", keep=4, **options):
        encoder = model.model.encoder
        hook = encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.append(args), with_kwargs=True)
        found = model.generate(long, attention_mask=torch.ones(1, 48), **asked)
        hook.remove()
    assert len(seen) > 1
    assert len(found["segments"][0]) >= 1


def test_a_static_cache_behind_a_shorter_output():
    model = tiny("whisper")
    sound = {"input_features": sounds()["input_features"]}
    with tokprune.apply(model, scorer="l2-norm", keep=4), torch.no_grad():
        expected = model.generate(**sound, max_new_tokens=4)
        assert torch.equal(model.generate(**sound, max_new_tokens=4, cache_implementation="static"), expected)
