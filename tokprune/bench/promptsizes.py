"""Published shapes of models whose language model reads image tokens, from the configurations on the hub."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tokprune.bench.scaling import grouped_shape, part, shape


def llava_1_5_7b(scale: Fraction) -> Any:
    """LLaVA-1.5-7B: CLIP's ViT-L/14 at 336 pixels, 576 image tokens, Vicuna-7B."""
    from transformers import LlavaConfig

    vision = shape(scale, layers=24, heads=16, head_dim=64)
    return LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            **vision,
            "intermediate_size": part(4096, scale),
            "projection_dim": 768,
            "image_size": 336,
            "patch_size": 14,
        },
        text_config={
            "model_type": "llama",
            **shape(scale, layers=32, heads=32, head_dim=128),
            "intermediate_size": part(11008, scale),
            "vocab_size": 32064,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 1,
            "pad_token_id": 32001,
            "eos_token_id": 2,
        },
        image_token_index=32000,
        image_seq_length=576,
        vision_feature_layer=-2 if vision["num_hidden_layers"] > 1 else -1,
        vision_feature_select_strategy="default",
    )


def qwen2_5_vl_7b(scale: Fraction) -> Any:
    """Qwen2.5-VL-7B: a ViT with windows and any resolution, 4 patches to an image token, Qwen2.5-7B."""
    from transformers import Qwen2_5_VLConfig

    depth, heads = part(32, scale), part(16, scale)
    text = grouped_shape(scale, layers=28, heads=28, groups=4, head_dim=128)
    return Qwen2_5_VLConfig(
        vision_config={
            "depth": depth,
            "hidden_size": heads * 80,
            "num_heads": heads,
            "intermediate_size": part(3420, scale),
            "out_hidden_size": text["hidden_size"],
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            # The last layer of each quarter sees the whole picture.
            "fullatt_block_indexes": sorted({max(0, depth * quarter // 4 - 1) for quarter in (1, 2, 3, 4)}),
        },
        text_config={
            **text,
            "intermediate_size": part(18944, scale),
            "vocab_size": 152064,
            "max_position_embeddings": 128000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "pad_token_id": 151643,
            "use_sliding_window": False,
            "tie_word_embeddings": False,
        },
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=False,
    )


def llama_3_2_11b_vision(scale: Fraction) -> Any:
    """Llama 3.2 Vision 11B (Mllama): 4 tiles of 1601 image tokens, read by 8 cross-attention layers of 40."""
    from transformers import MllamaConfig

    vision = shape(scale, layers=32, heads=16, head_dim=80)
    layers = vision.pop("num_hidden_layers")
    used = sorted({part(layer + 1, scale) - 1 for layer in (3, 7, 15, 23, 30)})
    text = grouped_shape(scale, layers=40, heads=32, groups=8, head_dim=128)
    last = text["num_hidden_layers"] - 1
    crossed = sorted({min(last, part(layer, scale)) for layer in range(3, 40, 5)})
    return MllamaConfig(
        vision_config={
            "hidden_size": vision["hidden_size"],
            "attention_heads": vision["num_attention_heads"],
            "num_hidden_layers": layers,
            "num_global_layers": part(8, scale),
            "intermediate_size": part(5120, scale),
            "image_size": 560,
            "patch_size": 14,
            "max_num_tiles": 4,
            "intermediate_layers_indices": used,
            "vision_output_dim": vision["hidden_size"] * (1 + len(used)),
        },
        text_config={
            **text,
            "intermediate_size": part(14336, scale),
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "cross_attention_layers": crossed,
            "bos_token_id": 128000,
            "eos_token_id": 128001,
            "pad_token_id": 128004,
            "dropout": 0.0,
        },
        image_token_index=128256,
    )
