"""A tiny random BLIP-2 with its processor: what it answers is nonsense, but it is the same nonsense every time."""

import pytest
import torch

from tokprune.zoo.architecture import build_model, start_weights
from tokprune.zoo.processor import build_processor

QUERIES = 8


def tiny_opt():
    torch.manual_seed(0)
    return sharpen(build_model(width=32, layers=2, heads=4, queries=QUERIES).eval())


def tiny_t5():
    from transformers import Blip2Config, Blip2ForConditionalGeneration, T5Config

    opt = build_model(width=32, layers=2, heads=4, queries=QUERIES).config
    words = opt.text_config
    text = T5Config(
        vocab_size=words.vocab_size,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        decoder_start_token_id=words.pad_token_id,
        tie_word_embeddings=False,  # tied, a random model repeats its last word
    )
    config = Blip2Config(
        vision_config=opt.vision_config.to_dict(),
        qformer_config=opt.qformer_config.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=opt.image_token_index,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(config)
    start_weights(model)
    return sharpen(model.eval())


@torch.no_grad()
def sharpen(model):
    """Makes a random model look: else attention is nearly uniform and no prefix moves an answer."""
    for name, parameter in model.qformer.named_parameters():
        if name.endswith(("query.weight", "key.weight")):
            parameter.mul_(8)
    for name, parameter in model.language_model.named_parameters():
        if parameter.ndim > 1 and "embed" not in name and "shared" not in name and "lm_head" not in name:
            parameter.mul_(9 if "EncDecAttention" in name else 3)
    model.language_projection.weight.mul_(3)
    return model


@pytest.fixture(scope="session")
def processor():
    return build_processor(QUERIES)


@pytest.fixture(scope="session", params=["opt", "t5"])
def model(request):
    return {"opt": tiny_opt, "t5": tiny_t5}[request.param]()


@pytest.fixture(scope="session")
def opt():
    return tiny_opt()


@pytest.fixture(scope="session")
def t5():
    return tiny_t5()
