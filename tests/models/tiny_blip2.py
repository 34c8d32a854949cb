"""Tiny random BLIP-2 models whose attention is far from uniform, so that what they keep is not rounding noise."""

import copy
import warnings

import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration, LlamaConfig, OPTConfig, T5Config

IMAGE = 5
"""Id of the placeholder that each query token takes in a prompt."""
QUERIES = 8
PAD = {"opt": 1, "t5": 0, "llama": 0}
LANGUAGE_MODELS = ("opt", "t5")
SPREAD = 2.0
"""Standard deviation of the attention logits that one voter has for the candidates, before the language model."""


def tiny_blip2(kind="opt", attention="sdpa", seed=0, shallow=False):
    """A random BLIP-2 in eval mode: 17 image tokens, 8 query tokens, 2 cross-attention layers, OPT, T5 or LLaMA.

    `shallow` leaves one layer of each kind: for what takes long, such as compiling.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Blip2ForConditionalGeneration._from_config(_config(kind, shallow), attn_implementation=attention)
    _randomise(model, seed)
    model.eval()
    _spread_attention(model)
    return model


def with_attention(model, attention):
    """A copy of `model` with another attention implementation everywhere."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation(attention)
    return twin


def _config(kind, shallow):
    depth = 1 if shallow else 3
    common = {"vocab_size": 99, "eos_token_id": 97, "pad_token_id": PAD[kind]}
    if kind == "opt":
        text = OPTConfig(
            **common,
            bos_token_id=2,
            hidden_size=32,
            word_embed_proj_dim=32,
            ffn_dim=64,
            num_hidden_layers=depth,
            num_attention_heads=4,
            max_position_embeddings=80,
            dropout=0.0,
        )
    elif kind == "llama":
        text = LlamaConfig(
            **common,
            bos_token_id=2,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=depth,
            num_attention_heads=4,
            max_position_embeddings=80,
        )
    else:
        text = T5Config(
            **common,
            bos_token_id=2,
            decoder_start_token_id=0,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=depth,
            num_decoder_layers=depth,
            num_heads=4,
            dropout_rate=0.0,
        )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": depth,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": 4,
    }
    qformer = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": depth + 1,
        "num_attention_heads": 4,
        "cross_attention_frequency": 2,
        "encoder_hidden_size": 32,
        "vocab_size": 99,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return Blip2Config(
        vision_config=vision,
        qformer_config=qformer,
        text_config=text.to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=IMAGE,
    )


@torch.no_grad()
def _randomise(model, seed):
    # transformers starts the query tokens at zero (all queries would be one) and everything else far too small.
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * 0.25)
        else:
            parameter.copy_(noise * 0.1 + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0))


@torch.no_grad()
def _spread_attention(model):
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(99))
    size = model.config.vision_config.hidden_size
    for name in attentions(model):
        module = model.get_submodule(name)
        factor = SPREAD / attention_logits(model, name, images).std(dim=candidates(name)).mean()
        if hasattr(module, "qkv"):
            module.qkv.weight[:size] *= factor
            module.qkv.bias[:size] *= factor
        else:
            module.query.weight *= factor
            module.query.bias *= factor


def attentions(model):
    """Paths of the attention modules before the language model, in the order in which they run."""
    vision = [f"vision_model.encoder.layers.{i}.self_attn" for i in range(len(model.vision_model.encoder.layers))]
    qformer = []
    for index, layer in enumerate(model.qformer.encoder.layer):
        kinds = ("attention", "crossattention") if layer.has_cross_attention else ("attention",)
        qformer += [f"qformer.encoder.layer.{index}.{kind}.attention" for kind in kinds]
    return vision + qformer


def candidates(name):
    """Along which dimension of `[batch head query key]` the candidates lie: query tokens query the image tokens."""
    return 2 if "crossattention" in name else 3


@torch.no_grad()
def attention_logits(model, name, images):
    """The logits `[batch head query key]` of one attention module, from what enters it."""
    module, entered = model.get_submodule(name), {}
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: entered.update(kwargs, hidden_states=kwargs.get("hidden_states", (*args, None)[0])),
        with_kwargs=True,
    )
    model.get_image_features(images)
    hook.remove()
    own, other = entered["hidden_states"], entered.get("encoder_hidden_states")
    if hasattr(module, "qkv"):
        query, key, _ = module.qkv(own).chunk(3, dim=-1)
    else:
        query, key = module.query(own), module.key(own if other is None else other)
    query, key = (side.unflatten(-1, (4, 8)).transpose(1, 2) for side in (query, key))
    return query @ key.transpose(2, 3) * 8**-0.5
