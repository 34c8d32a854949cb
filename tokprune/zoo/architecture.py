"""The miniature: a `Blip2ForConditionalGeneration` of width 128, and starting weights that can be trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tokprune.zoo.scenes import IMAGE_SIZE
from tokprune.zoo.vocabulary import BOS, EOS, IMAGE, PAD, VOCABULARY

WEIGHT_STD = 0.07
"""transformers starts weights at 0.02, made for widths of about 1000; at width 128 they need 3 to 4 times that."""


def build_model(width: int = 128, layers: int = 4, heads: int = 4, queries: int = 32) -> Any:
    """An untrained miniature of BLIP-2 with an OPT language model; every Q-Former layer votes (cross-attends)."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    ids = {word: index for index, word in enumerate(VOCABULARY)}
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    tokens = {"bos_token_id": ids[BOS], "pad_token_id": ids[PAD], "eos_token_id": ids[EOS]}
    config = Blip2Config(
        vision_config={**shape, "intermediate_size": 4 * width, "image_size": IMAGE_SIZE, "patch_size": 8},
        qformer_config={
            **shape,
            "intermediate_size": 4 * width,
            "encoder_hidden_size": width,
            "cross_attention_frequency": 1,
            "vocab_size": len(VOCABULARY),
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        text_config={
            "model_type": "opt",
            **shape,
            **tokens,
            "ffn_dim": 4 * width,
            "word_embed_proj_dim": width,
            "vocab_size": len(VOCABULARY),
            "max_position_embeddings": 128,
            "dropout": 0.0,
            "tie_word_embeddings": False,
        },
        num_query_tokens=queries,
        image_token_index=ids[IMAGE],
        tie_word_embeddings=False,
        **tokens,
    )
    model = Blip2ForConditionalGeneration(config)
    start_weights(model)
    return model


@torch.no_grad()
def start_weights(module: nn.Module) -> None:
    """Draws starting weights at a width-128 scale, `query_tokens` included: all zeros, all queries would stay one."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding | nn.Conv2d):
            part.weight.normal_(0, WEIGHT_STD)
            bias = getattr(part, "bias", None)
            if bias is not None:
                bias.zero_()
    for name, parameter in module.named_parameters():
        if name.endswith(("class_embedding", "position_embedding")):
            parameter.normal_(0, WEIGHT_STD)
        elif name.endswith("query_tokens"):
            parameter.normal_(0, 1)
