"""handle.check generates, too: each way in which a later step can go wrong fails with the proof that it breaks."""

import warnings

import pytest
import torch

import tokprune
from tokprune import TokpruneError
from tokprune.adapters import upstream
from tokprune.adapters.calls import no_calls
from tokprune.adapters.crossing.cut import CrossCut
from tokprune.adapters.decoder.shorter import Shorter
from tokprune.adapters.generations import Generations
from tokprune.adapters.prompt.delegated import DelegatedPruning
from tokprune.adapters.prompt.placeholders import PlaceholderPruning
from tokprune.testing.tiny_embed import pixels, prompts, tiny_llava
from tokprune.verify.generation import Written, _differences

from .families.every import FAMILIES

BY_NAME = {family.name: family for family in FAMILIES}
IDEFICS = ("idefics inside the decoder", {"scorer": "text-attention", "keep": 3})
INSIDE = ("llava, inside the language model", {"scorer": "l2-norm", "keep": 3})
HIDING = (INSIDE[0], {**INSIDE[1], "reduction": "mask"})
OPT = ("blip2 with opt, query tokens", {"scorer": "l2-norm", "keep": 3})
LLAVA = ("llava", {"scorer": "l2-norm", "keep": 3})


def renamed_argument(monkeypatch):
    monkeypatch.setattr(upstream, "CACHE_NAMES", ("keys_and_values",))


def forgotten_columns(monkeypatch):
    monkeypatch.setattr(Generations, "recall", lambda self, cache: None)


def whole_prompt_in_each_step(monkeypatch):
    monkeypatch.setattr(Shorter, "later_mask", lambda self, mask, later: mask)


def dropped_hook(monkeypatch):
    monkeypatch.setattr(CrossCut, "_end", lambda self, call, output: None)


def generate_past_the_cut(monkeypatch):
    def past(self, original, *args, **kwargs):
        with no_calls():
            return original(*args, **kwargs)

    monkeypatch.setattr(DelegatedPruning, "_around_generate", past)


def whole_prompt_in_generate(monkeypatch):
    shorten = DelegatedPruning._shorten
    monkeypatch.setattr(
        DelegatedPruning,
        "_shorten",
        lambda self, call, kwargs, generating: (shorten(self, call, kwargs, generating), kwargs)[generating],
    )


def other_words(monkeypatch):
    around = PlaceholderPruning._around_generate

    def other(self, original, *args, **kwargs):
        ids = kwargs["input_ids"].clone()
        ids[:, -1] += 1
        return around(self, original, *args, **{**kwargs, "input_ids": ids})

    monkeypatch.setattr(PlaceholderPruning, "_around_generate", other)


SABOTAGE = {
    "a renamed argument": (renamed_argument, IDEFICS, "chose anew at a later step"),
    "a renamed argument, inside": (renamed_argument, INSIDE, "pruned generation failed where the unpruned one works"),
    "tokens that are chosen anew": (forgotten_columns, IDEFICS, "chose anew at a later step"),
    "steps that see the whole prompt": (whole_prompt_in_each_step, HIDING, "with a cache is not that without one"),
    "a dropped hook": (dropped_hook, IDEFICS, "pruned generation failed .* filled before the policy came"),
    "a generate that goes past": (generate_past_the_cut, OPT, "never reached in generate"),
    "a whole prompt": (whole_prompt_in_generate, OPT, "cache of a pruned generation is not shorter: layer 0 holds"),
    "other words": (other_words, LLAVA, r"keep=1\.0 changed what the model generates"),
}


@pytest.mark.parametrize("case", SABOTAGE)
def test_a_later_step_that_goes_wrong_is_caught_by_the_proof_that_it_breaks(case, monkeypatch):
    sabotage, (name, options), message = SABOTAGE[case]
    family = BY_NAME[name]
    model = family.build()
    with tokprune.apply(model, **{**family.options, **options}, target=family.target) as handle:
        handle.check(family.inputs())
        sabotage(monkeypatch)
        with pytest.raises(TokpruneError, match=message):
            handle.check(family.inputs())
        assert handle.active


@pytest.mark.parametrize("name", ["gemma3", "mistral3", "qwen2-vl"])
@pytest.mark.parametrize("lower", [torch.bfloat16, "autocast"], ids=str)
def test_what_half_precision_rounds_is_blamed_on_nobody(name, lower):
    family = BY_NAME[name]
    model, inputs = family.build(), family.inputs()
    if lower != "autocast":
        model = model.to(lower)
        inputs = {name: value.to(lower) if value.is_floating_point() else value for name, value in inputs.items()}
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower == "autocast"),
        tokprune.apply(model, target=family.target, keep=0.5) as handle,
    ):
        handle.check(inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_hidden_tokens_that_a_step_sees_again_are_noticed_in_front_of_a_language_model(dtype):
    model, inputs = tiny_llava().to(dtype), prompts([[16]], pixels(1))
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)

    def see_all(module, args, kwargs):
        if kwargs["inputs_embeds"].shape[1] == 1:
            return args, {**kwargs, "attention_mask": None}
        return None

    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction="mask") as handle:
        handle.check(inputs)
        model.model.language_model.register_forward_pre_hook(see_all, with_kwargs=True)
        with pytest.raises(TokpruneError, match="with a cache is not that without one"):
            handle.check(inputs)


@pytest.mark.parametrize("reduction", ["merge", "mask"])
def test_other_reductions_pass_and_their_cache_is_as_long_as_they_say(reduction):
    family = BY_NAME["llava, inside the language model"]
    with (
        warnings.catch_warnings(),
        tokprune.apply(family.build(), scorer="text-attention", keep=0.5, reduction=reduction, after=1) as handle,
    ):
        warnings.filterwarnings("error", message="handle.check did not prove")
        handle.check(family.inputs())


def test_what_cannot_be_proved_is_said_and_blamed_on_nobody():
    model = tiny_llava()
    with tokprune.apply(model, scorer="l2-norm", keep=3) as handle:
        model.generation_config.cache_implementation = "no such cache"
        with pytest.warns(UserWarning, match="did not prove all .* unpruned model does not generate"):
            handle.check(prompts([[16]], pixels(1)))


def test_rows_are_compared_until_they_choose_other_tokens():
    def written(*steps):
        return Written(torch.zeros(2, 1), [torch.tensor(step) for step in steps], ())

    one = written([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [3.0, 0.0]])
    other = written([[1.0, 0.0], [1.0, 0.9]], [[1.0, 0.5], [0.0, 9.0]])
    assert [step for step, _ in _differences(one, other)] == [0, 1]
    assert [round(apart, 3) for _, apart in _differences(one, other)] == [1.0, 0.5]  # the second row chose otherwise
