"""Tiny random BLIP-2 models whose attention is far from uniform, so that what they keep is not rounding noise.

This module and those that take its parts are the only ones here that import transformers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Model, LlamaConfig, OPTConfig, T5Config

IMAGE = 5
"""Id of the placeholder that each query token takes in a prompt."""
QUERIES = 8
"""Query tokens of each image."""
PAD = {"opt": 1, "t5": 0, "llama": 0}
"""Kind of language model -> id of its padding."""
LANGUAGE_MODELS = ("opt", "t5")
"""The kinds that transformers' BLIP-2 comes with."""
BOS, TEXT = 2, 6
"""First token of every text, and how long it is."""
SPREAD = 2.0
"""Standard deviation of the attention logits that one voter has for the candidates, before the language model."""


def tiny_blip2(kind: str = "opt", attention: str = "sdpa", seed: int = 0, shallow: bool = False) -> Any:
    """A random BLIP-2 in eval mode: 17 image tokens, 8 query tokens, 2 cross-attention layers.

    Args:
        kind: its language model, "opt", "t5" or "llama".
        attention: attention implementation.
        seed: of its weights.
        shallow: leaves one layer of each kind: for what takes long, such as compiling.

    Example:
        >>> model = tiny_blip2()
        >>> tuple(model(**prompts()).logits.shape)
        (2, 14, 99)
    """
    return build(Blip2ForConditionalGeneration, Blip2Config(**configuration(kind, shallow)), attention, seed)


def tiny_blip2_model(kind: str = "opt") -> Any:
    """The same as a `Blip2Model`, which has no `generate`.

    Example:
        >>> tuple(tiny_blip2_model()(**prompts()).logits.shape)
        (2, 14, 99)
    """
    return build(Blip2Model, Blip2Config(**configuration(kind, False)), "sdpa", 0)


def build(model_class: Any, config: Any, attention: str, seed: int, **question: Any) -> Any:
    """A model with random weights and spread attention; `question` is what its Q-Former reads beside the image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_class._from_config(config, attn_implementation=attention)
    randomise(model, seed)
    model.eval()
    _spread_attention(model, question)
    return model


def with_attention(model: Any, attention: str) -> Any:
    """A copy of `model` with another attention implementation everywhere."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation(attention)
    return twin


def configuration(kind: str, shallow: bool) -> dict[str, Any]:
    """What the configuration of a tiny model is made with."""
    depth = 1 if shallow else 3
    common: dict[str, Any] = {"vocab_size": 99, "eos_token_id": 97, "pad_token_id": PAD[kind]}
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
    width = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    vision = {**width, "num_hidden_layers": depth, "image_size": 16, "patch_size": 4}
    qformer = {
        **width,
        "num_hidden_layers": depth + 1,
        "cross_attention_frequency": 2,
        "encoder_hidden_size": 32,
        "vocab_size": 99,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return {
        "vision_config": vision,
        "qformer_config": qformer,
        "text_config": text.to_dict(),
        "num_query_tokens": QUERIES,
        "image_token_index": IMAGE,
    }


@torch.no_grad()
def randomise(model: Any, seed: int, ones: Sequence[str] = ()) -> None:
    """Draw all parameters anew, large enough to matter; norms, and what has one of `ones` in its name, near 1."""
    # transformers starts the query tokens at zero (all queries would be one) and everything else far too small.
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * 0.25)
        else:
            one = ("norm" in name.lower() and name.endswith("weight")) or any(part in name for part in ones)
            parameter.copy_(noise * 0.1 + (1.0 if one else 0.0))


@torch.no_grad()
def _spread_attention(model: Any, question: dict[str, Any]) -> None:
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(99))
    size = model.config.vision_config.hidden_size
    for name in attentions(model):
        module = model.get_submodule(name)
        factor = SPREAD / attention_logits(model, name, images, **question).std(dim=candidates(name)).mean()
        if hasattr(module, "qkv"):
            module.qkv.weight[:size] *= factor
            module.qkv.bias[:size] *= factor
        else:
            module.query.weight *= factor
            module.query.bias *= factor


def attentions(model: Any) -> list[str]:
    """Paths of the attention modules before the language model, in the order in which they run."""
    vision = [f"vision_model.encoder.layers.{i}.self_attn" for i in range(len(model.vision_model.encoder.layers))]
    qformer: list[str] = []
    for index, layer in enumerate(model.qformer.encoder.layer):
        kinds = ("attention", "crossattention") if layer.has_cross_attention else ("attention",)
        qformer += [f"qformer.encoder.layer.{index}.{kind}.attention" for kind in kinds]
    return vision + qformer


def candidates(name: str) -> int:
    """Along which dimension of `[batch head query key]` the candidates lie: query tokens query the image tokens."""
    return 2 if "crossattention" in name else 3


@torch.no_grad()
def attention_logits(model: Any, name: str, images: Tensor, **question: Any) -> Tensor:
    """The logits `[batch head query key]` of one attention module for its candidates, from what enters it."""
    module, entered = model.get_submodule(name), dict[str, Any]()
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: entered.update(kwargs, hidden_states=kwargs.get("hidden_states", (*args, None)[0])),
        with_kwargs=True,
    )
    _look(model, images, question)
    hook.remove()
    own, other = entered["hidden_states"], entered.get("encoder_hidden_states")
    if hasattr(module, "qkv"):
        query, key, _ = module.qkv(own).chunk(3, dim=-1)
    else:
        query, key = module.query(own), module.key(own if other is None else other)
    query, key = (side.unflatten(-1, (4, 8)).transpose(1, 2) for side in (query, key))
    if name.startswith("qformer") and other is None:
        key = key[:, :, :QUERIES]  # a question's tokens are no candidates
    logits: Tensor = query @ key.transpose(2, 3) * 8**-0.5
    return logits


def _look(model: Any, images: Tensor, question: dict[str, Any]) -> None:
    """Run what comes in front of the language model, or of what takes its place."""
    if hasattr(model, "get_video_features"):
        model.get_video_features(images[:, None], **question)
    elif hasattr(model, "get_qformer_features"):
        model.get_qformer_features(images)
    elif hasattr(model, "get_image_features"):
        model.get_image_features(images, **question)
    else:
        model(images, **question)


def prompts(
    kind: str = "opt", images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 3), seed: int = 1, lead: int = 0
) -> dict[str, Tensor]:
    """Inputs of a tiny BLIP-2 as its processor lays them out: image placeholders, then left padding, then the text.

    Rows with fewer images than others are filled up with padding in front.

    Args:
        kind: the language model.
        images: how many images each row has; one row per entry.
        pads: after how many padding tokens each row starts its text.
        seed: of words and pixels.
        lead: how many words come before each image.

    Returns:
        `pixel_values` `[image channel row column]`, `input_ids` and `attention_mask` `[batch position]`.
    """
    generator = torch.Generator().manual_seed(seed)
    ids, mask = [], []
    for count, padding in zip(images, pads, strict=True):
        text = torch.randint(10, 90, (TEXT,), generator=generator)
        text[0] = BOS
        front = (max(images) - count) * (QUERIES + lead)
        shown = ([30 + lead] * lead + [IMAGE] * QUERIES) * count
        row = [PAD[kind]] * front + shown + [PAD[kind]] * padding
        row += text[: TEXT - padding].tolist()
        ids.append(row)
        mask.append([0] * front + [1] * len(shown) + [0] * padding + [1] * (TEXT - padding))
    return {
        "pixel_values": torch.randn(sum(images), 3, 16, 16, generator=generator),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
    }
