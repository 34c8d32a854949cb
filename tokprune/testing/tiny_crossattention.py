"""Tiny random models whose decoder cross-attends to an encoder, with attention that is far from uniform.

Only this module, `tiny_blip2` and its sisters import transformers here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    GenerationConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from tokprune.testing.tiny_blip2 import SPREAD, randomise

PAD, BOS, EOS = 0, 1, 97
"""Ids of every model here."""
START, NO_TIMESTAMPS = 2, 96
"""Ids by which Whisper begins."""
TEXT = 6
"""Length of a prompt."""
WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
_ENCODER = {**WIDTH, "num_hidden_layers": 2, "image_size": 16, "patch_size": 4}
_IDS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}


def tiny_blip(answers: bool = False, attention: str = "eager", seed: int = 0) -> Any:
    """A random BLIP in eval mode: 17 image tokens, 2 layers in the encoder and 3 in the decoder.

    Args:
        answers: answers questions, instead of writing captions.
        attention: attention implementation; BLIP's own is always eager.
        seed: of its weights.

    Example:
        >>> tuple(tiny_blip()(**prompts()).logits.shape)
        (2, 6, 99)
    """
    text: dict[str, Any] = {
        **WIDTH,
        **_IDS,
        "sep_token_id": EOS,
        "vocab_size": 99,
        "encoder_hidden_size": 32,
        "num_hidden_layers": 3,
    }
    text |= {"max_position_embeddings": 64, "is_decoder": True, "projection_dim": 16}
    text |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BlipConfig(vision_config=_ENCODER, text_config=text, projection_dim=16)
    kind = BlipForQuestionAnswering if answers else BlipForConditionalGeneration
    reader = "text_encoder" if answers else "text_decoder.bert"
    crossings = [(f"{reader}.encoder.layer.{i}.crossattention.self.{{}}", ("query", "key"), 1) for i in range(3)]
    encoder = [(f"vision_model.encoder.layers.{i}.self_attn.{{}}", ("qkv", "qkv"), 3) for i in range(2)]
    return _build(kind, config, attention, seed, answers_to(prompts) if answers else prompts, [*encoder, *crossings])


def tiny_whisper(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Whisper in eval mode: 12 frames, 2 layers in the encoder and 3 in the decoder.

    Example:
        >>> tuple(tiny_whisper()(**sounds()).logits.shape)
        (2, 6, 99)
    """
    config = WhisperConfig(
        **_IDS,
        vocab_size=99,
        num_mel_bins=8,
        encoder_layers=2,
        encoder_attention_heads=4,
        decoder_layers=3,
        decoder_attention_heads=4,
        d_model=32,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=12,
        max_target_positions=40,
        decoder_start_token_id=START,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    names = ("q_proj", "k_proj")
    encoder = [(f"model.encoder.layers.{i}.self_attn.{{}}", names, 1) for i in range(2)]
    crossings = [(f"model.decoder.layers.{i}.encoder_attn.{{}}", names, 1) for i in range(3)]
    model = _build(WhisperForConditionalGeneration, config, attention, seed, sounds, [*encoder, *crossings])
    model.generation_config = GenerationConfig(
        **_IDS,
        decoder_start_token_id=START,
        no_timestamps_token_id=NO_TIMESTAMPS,
        is_multilingual=False,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    return model


def tiny_vision_encoder_decoder(
    encoder: str = "vit", decoder: str = "gpt2", attention: str = "sdpa", seed: int = 0
) -> Any:
    """A random VisionEncoderDecoderModel in eval mode: 16 image tokens and [CLS], 2 layers and 3.

    Args:
        encoder: its type, "vit", "deit", "dinov2", "beit" or "donut-swin" (which has 4 image tokens).
        decoder: its type, "gpt2", "bert", "trocr" (which knows no other attention than eager) or "mbart".
        attention: attention implementation.
        seed: of its weights.

    Example:
        >>> tuple(tiny_vision_encoder_decoder()(**pictures()).logits.shape)
        (2, 6, 99)
    """
    seeing: dict[str, Any] = _ENCODER
    if encoder == "donut-swin":
        seeing = {"image_size": 16, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4]}
        seeing |= {"window_size": 2}
    bart = {"d_model": 32, "decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}
    writing = {
        "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
        "bert": {**WIDTH, "num_hidden_layers": 3},
        "trocr": bart,
        "mbart": bart,
    }[decoder]
    paths, names, parts = {
        "gpt2": ("decoder.transformer.h.{}.crossattention.", ("q_attn", "c_attn"), 1),
        "bert": ("decoder.bert.encoder.layer.{}.crossattention.self.", ("query", "key"), 1),
        "trocr": ("decoder.model.decoder.layers.{}.encoder_attn.", ("q_proj", "k_proj"), 1),
        "mbart": ("decoder.model.decoder.layers.{}.encoder_attn.", ("q_proj", "k_proj"), 1),
    }[decoder]
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        AutoConfig.for_model(encoder, **seeing),
        AutoConfig.for_model(decoder, **_IDS, **writing, vocab_size=99, is_decoder=True, add_cross_attention=True),
    )
    attentions = [(paths.format(i) + "{}", names, parts) for i in range(3)]
    if encoder in ("vit", "deit"):
        attentions = [(f"encoder.layers.{i}.attention.{{}}", ("q_proj", "k_proj"), 1) for i in range(2)] + attentions
    model = _build(VisionEncoderDecoderModel, config, attention, seed, pictures, attentions)
    for where in (model.config, model.generation_config):
        where.decoder_start_token_id, where.pad_token_id, where.eos_token_id = BOS, PAD, EOS
    return model


def prompts(pads: Sequence[int] = (0, 2), seed: int = 1, side: int = 16) -> dict[str, Tensor]:
    """Inputs of a tiny BLIP: an image for each row, `side` pixels a side, and text with padding in front."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(10, 90, (len(pads), TEXT), generator=generator)
    mask = torch.arange(TEXT)[None] >= torch.tensor(pads)[:, None]
    return {
        "pixel_values": torch.randn(len(pads), 3, side, side, generator=generator),
        "input_ids": ids.masked_fill(~mask, PAD),
        "attention_mask": mask.long(),
    }


def answers_to(questions: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """Inputs with an answer for each question, by which the loss is computed."""

    def asked(*args: Any, **options: Any) -> dict[str, Tensor]:
        inputs = questions(*args, **options)
        rows = len(inputs["input_ids"])
        return {**inputs, "labels": torch.randint(10, 90, (rows, 4), generator=torch.Generator().manual_seed(5))}

    return asked


def sounds(rows: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """Inputs of a tiny Whisper: sound for each row, and what was written so far."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_features": torch.randn(rows, 8, 24, generator=generator),
        "decoder_input_ids": torch.randint(10, 90, (rows, TEXT), generator=generator),
    }


def pictures(pads: Sequence[int] = (0, 2), seed: int = 1) -> dict[str, Tensor]:
    """Inputs of a tiny VisionEncoderDecoderModel: an image for each row, and text with padding in front."""
    given = prompts(pads, seed)
    return {
        "pixel_values": given["pixel_values"],
        "decoder_input_ids": given["input_ids"],
        "decoder_attention_mask": given["attention_mask"],
    }


def _build(
    kind: Any,
    config: Any,
    attention: str,
    seed: int,
    inputs: Callable[[], dict[str, Tensor]],
    attentions: Sequence[tuple[str, tuple[str, str], int]],
) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind._from_config(config, attn_implementation=attention)
    randomise(model, seed)
    model.eval()
    for path, (query, key), parts in attentions:
        spread(model, inputs(), path.format(query), path.format(key), parts)
    return model


@torch.no_grad()
def spread(model: Any, inputs: dict[str, Tensor], query: str, key: str, parts: int = 1, heads: int = 4) -> None:
    """Scale what makes the queries of an attention, until its logits spread by `SPREAD` over the keys.

    Args:
        model: the model.
        inputs: of one forward.
        query: path of the module that makes the queries.
        key: path of the one that makes the keys, alone or in front of the values.
        parts: 3 if one module makes queries, keys and values.
        heads: number of heads.
    """
    seen: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _, args, output, path=path: seen.update({path: output}))
        for path in {query, key}
    ]
    model(**inputs)
    for hook in hooks:
        hook.remove()
    queries = seen[query] if parts == 1 else seen[query].chunk(parts, dim=-1)[0]
    width = queries.shape[-1]
    keys = seen[key][..., width : 2 * width] if parts == 3 else seen[key][..., :width]
    first, second = (
        each if each.dim() == 4 else each.reshape(*each.shape[:2], heads, -1).transpose(1, 2)
        for each in (queries, keys)
    )
    second = second.repeat_interleave(first.shape[1] // second.shape[1], dim=1)
    logits = first @ second.transpose(2, 3) * first.shape[-1] ** -0.5
    module = model.get_submodule(query)
    factor = SPREAD / logits.std(dim=3).mean()
    rows = slice(0, width)  # GPT-2's projections are the other way round, but those of queries are square
    module.weight[rows] *= factor
    if getattr(module, "bias", None) is not None:
        module.bias[rows] *= factor
