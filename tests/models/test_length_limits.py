"""Lengths keep their meaning: as many new tokens as in the same call without pruning."""

import pytest
import torch
from transformers import GenerationConfig

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import answer, generate
from .oracle import catp_kept, hand_fed, oracle_answer
from .prompts import as_embeddings

NEVER = {"eos_token_id": -1}
"""No token ends an answer, so only lengths do."""
LENGTH = 14
"""Of the prompts."""
LIMITS = {
    "max_length": {"max_length": LENGTH + 4},
    "max_new_tokens": {"max_new_tokens": 4},
    "both": {"max_length": LENGTH + 9, "max_new_tokens": 4},
    "min and max": {"min_length": LENGTH + 2, "max_length": LENGTH + 4},
    "min_new_tokens": {"min_new_tokens": 2, "max_new_tokens": 4},
    "config with max_length": {"generation_config": GenerationConfig(max_length=LENGTH + 4, **NEVER)},
    "config with max_new_tokens": {"generation_config": GenerationConfig(max_new_tokens=4, **NEVER)},
    "config and argument": {"generation_config": GenerationConfig(max_length=LENGTH + 9, **NEVER), "max_new_tokens": 4},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_means_as_many_new_tokens_as_without_pruning(model, inputs, limit):
    plain = generate(model, inputs, **NEVER, **LIMITS[limit])
    with tokprune.apply(model, keep=3):
        pruned = generate(model, inputs, **NEVER, **LIMITS[limit])
    assert pruned.shape == plain.shape
    assert not torch.equal(pruned, plain)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_means_the_same_for_embeddings(model, inputs, limit):
    embedded = as_embeddings(model, inputs)
    plain = generate(model, embedded, **NEVER, **LIMITS[limit])
    with tokprune.apply(model, keep=3):
        assert generate(model, embedded, **NEVER, **LIMITS[limit]).shape == plain.shape


@pytest.mark.parametrize("limit", [{"max_length": 12}, {"max_new_tokens": 3}, {"min_length": 11, "max_length": 12}])
def test_a_limit_means_the_same_without_a_prompt(model, inputs, limit):
    images = {"pixel_values": inputs["pixel_values"]}
    plain = generate(model, images, **NEVER, **limit)
    with tokprune.apply(model, keep=3):
        assert generate(model, images, **NEVER, **limit).shape == plain.shape


@pytest.mark.parametrize("name", ["max_length", "max_new_tokens"])
def test_a_limit_in_the_models_own_config_means_the_same(fresh, inputs, name):
    config = fresh.language_model.generation_config
    setattr(config, name, LENGTH + 4 if name == "max_length" else 4)
    before, options = config.to_dict(), {"generation_config": None}
    plain = generate(fresh, inputs, **NEVER, **options)
    with tokprune.apply(fresh, keep=3):
        assert generate(fresh, inputs, **NEVER, **options).shape == plain.shape
    assert config.to_dict() == before


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default:UserWarning")
def test_no_limit_at_all_means_the_same(model, inputs):
    plain = generate(model, inputs, generation_config=None, **NEVER)
    with tokprune.apply(model, keep=3):
        assert generate(model, inputs, generation_config=None, **NEVER).shape == plain.shape


def test_the_callers_generation_config_is_not_changed(model, inputs):
    config = GenerationConfig(max_length=LENGTH + 4, min_length=LENGTH + 1, **NEVER)
    before = config.to_dict()
    with tokprune.apply(model, keep=3):
        generate(model, inputs, generation_config=config)
    assert config.to_dict() == before


ENDING = {"eos_token_id": list(range(4, 99))}
"""Nearly every token ends an answer, so only `min_length` keeps it going."""


@pytest.mark.parametrize("given", ["argument", "generation_config"])
def test_a_minimum_counts_the_whole_prompt(opt, given):
    inputs = prompts("opt")
    fed = hand_fed(opt, inputs, catp_kept(opt, inputs, 3))
    limits = {"min_length": LENGTH + 3, "max_length": LENGTH + 6}
    options = {**limits, **ENDING}
    if given == "generation_config":
        options = {given: GenerationConfig(**options)}
    with tokprune.apply(opt, keep=3):
        new = answer(opt, inputs, generate(opt, inputs, **options))
        early = answer(opt, inputs, generate(opt, inputs, max_length=LENGTH + 6, **ENDING))
    assert torch.equal(new, oracle_answer(opt, fed, min_new_tokens=3, max_new_tokens=6, **ENDING))
    assert (early.shape[1], new.shape[1]) == (1, 4)
