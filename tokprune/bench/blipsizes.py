"""Published shapes of BLIP-2 and InstructBLIP, from the configurations on the hub."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tokprune.bench.scaling import part, shape

QUERY_TOKENS = 32
IMAGE_SIZE = 224
PATCH_SIZE = 14


def blip(name: str, text: Callable[[Fraction], dict[str, Any]], image_token: int) -> Callable[[Fraction], Any]:
    """Scale -> configuration of a BLIP-2 or an InstructBLIP with EVA's ViT-g.

    Args:
        name: Name of the configuration's class.
        text: Scale -> the language model's configuration.
        image_token: Id of the placeholder that each query token takes in the prompt.
    """

    def config(scale: Fraction) -> Any:
        import transformers

        return getattr(transformers, name)(
            vision_config={
                **shape(scale, layers=39, heads=16, head_dim=88),
                "intermediate_size": part(6144, scale),
                "image_size": IMAGE_SIZE,
                "patch_size": PATCH_SIZE,
            },
            qformer_config={
                **shape(scale, layers=12, heads=12, head_dim=64),
                "intermediate_size": part(3072, scale),
                "cross_attention_frequency": 2,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            },
            text_config=text(scale),
            num_query_tokens=QUERY_TOKENS,
            image_token_index=image_token,
        )

    return config


def opt_2_7b(scale: Fraction) -> dict[str, Any]:
    """OPT-2.7b, its vocabulary padded."""
    size = shape(scale, layers=32, heads=32, head_dim=80)
    return {
        "model_type": "opt",
        **size,
        "word_embed_proj_dim": size["hidden_size"],
        "ffn_dim": part(10240, scale),
        "vocab_size": 50304,
        "max_position_embeddings": 2048,
        "bos_token_id": 2,
        "pad_token_id": 1,
        "eos_token_id": 50118,
        "dropout": 0.0,
    }


def flan_t5_xl(scale: Fraction) -> dict[str, Any]:
    """Flan-T5-XL."""
    size = shape(scale, layers=24, heads=32, head_dim=64)
    return {
        "model_type": "t5",
        "d_model": size["hidden_size"],
        "num_layers": size["num_hidden_layers"],
        "num_decoder_layers": size["num_hidden_layers"],
        "num_heads": size["num_attention_heads"],
        "d_kv": 64,
        "d_ff": part(5120, scale),
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "vocab_size": 32128,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.0,
    }


def vicuna_7b(scale: Fraction) -> dict[str, Any]:
    """Vicuna-7B, and one word more."""
    return {
        "model_type": "llama",
        **shape(scale, layers=32, heads=32, head_dim=128),
        "intermediate_size": part(11008, scale),
        "vocab_size": 32001,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "pad_token_id": 0,
        "eos_token_id": 2,
    }
