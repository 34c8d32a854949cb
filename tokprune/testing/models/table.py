"""The table of tiny models: a row for each family. A new family is a row here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from tokprune.errors import UnknownNameError
from tokprune.testing.models import inputs_crossattention as crossing
from tokprune.testing.models import inputs_encoders as encoders
from tokprune.testing.models import inputs_prompt as prompt
from tokprune.testing.models import inputs_qformer as qformer
from tokprune.testing.models.build import Row
from tokprune.testing.models.spread import Spread

WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 97}
VISION = {**WIDTH, "num_hidden_layers": 3, "image_size": 16, "patch_size": 4}
"""Image encoders: 16 image tokens."""
FINE = {**VISION, "num_hidden_layers": 2, "patch_size": 2}
"""Image encoders of models that merge 2 by 2 tokens: 64 tokens become 16."""
SHORT = {**VISION, "num_hidden_layers": 2}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False}
CLIP = {"model_type": "clip_vision_model"}
TEXT = {**WIDTH, **IDS, "vocab_size": 99, "num_key_value_heads": 2, "max_position_embeddings": 256}
"""Language models that read image tokens in their prompt: two heads share their keys."""
TEXTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "cohere2": {},
    "phi3": {},
}
"""Kinds of such language models -> what they are made with beside `TEXT`."""


def check_text(text: str, known: Collection[str]) -> None:
    """Refuse an unknown kind of language model."""
    if text not in known:
        near = difflib.get_close_matches(str(text), known, n=1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        raise UnknownNameError(
            f"tokprune.testing.tiny: expected a kind of language model, got text={text!r}. {meant}"
            f"This family takes {', '.join(sorted(known))}."
        )


# --- Q-Former: query tokens in front of a language model -----------------------------------------------------------


def _qformer(text: str, depth: int, **reads: bool) -> dict[str, Any]:
    """17 image tokens, 8 query tokens, 2 cross-attention layers of 4; `depth` layers in the other parts."""
    check_text(text, qformer.PAD)
    common = {"vocab_size": 99, "eos_token_id": 97, "pad_token_id": qformer.PAD[text], "bos_token_id": 2}
    texts: dict[str, dict[str, Any]] = {
        "opt": {
            **{"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": depth},
            **{"num_attention_heads": 4, "max_position_embeddings": 80, "dropout": 0.0},
        },
        "llama": {**WIDTH, "num_hidden_layers": depth, "max_position_embeddings": 80},
        "t5": {
            **{"decoder_start_token_id": 0, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": depth},
            **{"num_decoder_layers": depth, "num_heads": 4, "dropout_rate": 0.0},
        },
    }
    reader: dict[str, Any] = {
        **WIDTH,
        "num_hidden_layers": depth + 1,
        "cross_attention_frequency": 2,
        "encoder_hidden_size": 32,
    }
    reader |= {"vocab_size": 99, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return {
        "vision_config": {**VISION, "num_hidden_layers": depth},
        "qformer_config": {**reader, **reads},
        "text_config": {"model_type": text, **common, **texts[text]},
        "num_query_tokens": qformer.QUERIES,
        "image_token_index": qformer.IMAGE,
    }


def _blip2(text: str = "opt", depth: int = 3, model: str = "Blip2ForConditionalGeneration") -> dict[str, Any]:
    return {"model": model, **_qformer(text, depth)}


def _retrieval(model: str = "Blip2ForImageTextRetrieval") -> dict[str, Any]:
    return {"model": model, **_qformer("opt", 3, use_qformer_text_input=True), "image_text_hidden_size": 16}


def _instructblip(text: str = "llama", depth: int = 3) -> dict[str, Any]:
    return _qformer(text, depth)


def _instructblipvideo(text: str = "llama", depth: int = 3) -> dict[str, Any]:
    given = _qformer(text, depth)
    given["video_token_index"] = given.pop("image_token_index")
    return given


def look_at_images(model: Any, inputs: Any = None) -> None:
    """Run what comes in front of the language model, or of the heads, on four images and random questions."""
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(99))
    words = {"qformer_input_ids": torch.randint(10, 90, (4, qformer.TEXT), generator=torch.Generator().manual_seed(98))}
    if hasattr(model, "get_video_features"):
        model.get_video_features(images[:, None], **words)
    elif hasattr(model, "get_qformer_features"):
        model.get_qformer_features(images)
    elif hasattr(model, "get_image_features"):
        model.get_image_features(images, **(words if "InstructBlip" in type(model).__name__ else {}))
    elif hasattr(model, "itm_head"):
        given = qformer.texts(images=4, pads=(0,) * 4, seed=98)
        model(**{**given, "pixel_values": images}, use_image_text_matching_head=True)
    else:
        model(images)


_BEFORE_TEXT = (
    Spread("vision_model.encoder.layers.*.self_attn"),
    *(
        spread
        for layer in range(4)
        for spread in (
            Spread(f"qformer.encoder.layer.{layer}.attention.attention", first=qformer.QUERIES),
            Spread(f"qformer.encoder.layer.{layer}.crossattention.attention", over=2),
        )
    ),
)
"""In the order in which they run; a question's tokens are no candidates, and query tokens query the image tokens."""


# --- image tokens in the prompt ------------------------------------------------------------------------------------


def _in_prompt(
    vision: Mapping[str, Any], text: str, whole: Mapping[str, Any], name: str = "image_token_index"
) -> Callable[..., dict[str, Any]]:
    """The configuration of a model that reads image tokens in its prompt, by the kind and depth of its text model."""
    usual = text

    def config(text: str = usual, depth: int = 2) -> dict[str, Any]:
        check_text(text, TEXTS)
        kind = {"model_type": text, **TEXT, "num_hidden_layers": depth, **TEXTS[text]}
        if "layer_types" in kind:
            kind["layer_types"] = (kind["layer_types"] * depth)[:depth]
        return {"vision_config": dict(vision), "text_config": kind, name: prompt.IMAGE, **whole}

    return config


def _shown(count: int, make: Callable[[int], dict[str, Any]], around: int = 0) -> Callable[..., dict[str, Any]]:
    """Prompts with images of `count` tokens each."""

    def inputs(images: Sequence[int] = (1, 1), seed: int = 1) -> dict[str, Any]:
        return prompt.prompts([[count] * each for each in images], make(sum(images)), seed, around)

    return inputs


def _shown_in_rows(count: int, around: int = 0) -> Callable[..., dict[str, Any]]:
    """The same for models whose images come row by row; those that a row lacks are all zeros."""

    def inputs(images: Sequence[int] = (1, 1), seed: int = 1) -> dict[str, Any]:
        shown = prompt.pixels(len(images), max(images))
        for row, each in enumerate(images):
            shown["pixel_values"][row, each:] = 0
        return prompt.prompts([[count] * each for each in images], shown, seed, around if max(images) > 1 else 0)

    return inputs


_TILE, _OTHER = (16, 32), (32, 16)
"""Two tiles beside each other, or one above the other."""
_TILES = {"image_grid_pinpoints": [list(_TILE), list(_OTHER)]}


def _tiles(count: int) -> dict[str, Any]:
    return prompt.tiles(*[_TILE] * count)


def _squares(count: int) -> dict[str, Any]:
    return prompt.shapes(*[(16, 16)] * count)


_LAYERS = "model.language_model.layers.*.self_attn"


def _row_in_prompt(
    model: str,
    config: Callable[..., Mapping[str, Any]],
    inputs: Callable[..., dict[str, Any]],
    make: Callable[..., dict[str, Any]] = prompt.pixels,
    *shown: Any,
) -> Row:
    """A row; `make` makes images of `shown`, on which the image encoder's attention is spread."""

    def look(model: Any, _: Any) -> Any:
        return model.model.get_image_features(**make(*(shown or (4,))), return_dict=True)

    towers = (Spread("model.vision_tower.*", look=look), Spread("model.vision_model.*", look=look))
    return Row(model, config, inputs, towers, text=_LAYERS, endless=True)


def _onevision(text: str = "qwen2", depth: int = 2, most: int = 9) -> dict[str, Any]:
    whole = {**_TILES, "video_token_index": 91, "vision_aspect_ratio": f"anyres_max_{most}"}
    return _in_prompt({**VISION, **SIGLIP, "patch_size": 8}, "qwen2", whole)(text, depth)


def _vipllava(text: str = "llama", depth: int = 2) -> dict[str, Any]:
    from transformers import VipLlavaConfig

    name = "vision_feature_layers"  # its name since 5.24
    layers = {name if hasattr(VipLlavaConfig(), name) else "vision_feature_layer": [-2, -3]}
    return _in_prompt({**VISION, **CLIP}, "llama", layers)(text, depth)


_RESAMPLER = {
    **{"hidden_size": 32, "resampler_n_latents": 8, "resampler_depth": 2, "resampler_n_heads": 4},
    **{"resampler_head_dim": 8, "num_key_value_heads": 2},
}


DEEP: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
    "windowed mistral": {"model_type": "mistral", "sliding_window": 9},
    "gemma2": {"sliding_window": 9, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 4.0},
    "gemma3": {
        "model_type": "gemma3_text",
        "sliding_window": 9,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    },
    "phi": {"partial_rotary_factor": 0.5},
}
"""Kinds of language models of the deep LLaVA -> what they are made with beside `TEXT`. Gemma 2 needs "eager"."""


def _deep_llava(text: str = "llama", shapes: bool = False) -> dict[str, Any]:
    """A language model of 4 layers; its encoder, CLIP's or Pixtral's, is all that is in front of it."""
    vision = {**SHORT, **CLIP}
    check_text(text, DEEP)
    kind = {**TEXT, "model_type": text, "num_hidden_layers": 4, "head_dim": 8, "eos_token_id": None}
    kind |= DEEP[text]
    if shapes:
        vision |= {"model_type": "pixtral", "head_dim": 8, "image_size": 32}
    whole = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"} if shapes else {}
    return {"vision_config": vision, "text_config": kind, "image_token_index": prompt.IMAGE, **whole}


def _deeply_shown(
    shapes: bool = False, images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 3), after: int = 5, size: int = 16
) -> dict[str, Any]:
    return prompt.shaped() if shapes else prompt.deep(images, pads, after=after, size=size)


_QWEN = {"num_heads": 4, "patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3}
"""Image encoders of Qwen-VL: 2 x 2 of their tokens become one image token."""


def _qwen(vision: Mapping[str, Any], **text: Any) -> Callable[..., dict[str, Any]]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    ids = {"image_token_id": prompt.IMAGE, "video_token_id": prompt.VIDEO}
    ids |= {"vision_start_token_id": prompt.START, "vision_end_token_id": prompt.END}

    def config(depth: int = 2) -> dict[str, Any]:
        kind = {**TEXT, "num_hidden_layers": depth, "rope_parameters": rope, **text}
        return {"vision_config": {**_QWEN, **vision}, "text_config": kind, **ids}

    return config


def _asked_qwen(
    images: Sequence[int] = (1, 1), grids: Sequence[Sequence[prompt.Item]] | None = None, seed: int = 1
) -> dict[str, Any]:
    """Images of `grids`, row by row, or of 4 x 8 and 8 x 4 tokens of the encoder in turns: 8 image tokens each."""
    turns = iter([(4, 8), (8, 4)] * sum(images))
    return prompt.qwen(grids or [[next(turns) for _ in range(each)] for each in images], seed)


def _row_of_qwen(model: str, config: Callable[..., Mapping[str, Any]]) -> Row:
    def look(model: Any, _: Any) -> Any:
        return model.model.get_image_features(**prompt.grids([(4, 8)]))

    return Row(
        model, config, _asked_qwen, (Spread("model.visual.blocks.*.attn", look=look),), text=_LAYERS, endless=True
    )


# --- decoders that cross-attend ------------------------------------------------------------------------------------


def _blip(answers: bool = False) -> dict[str, Any]:
    text: dict[str, Any] = {
        **WIDTH,
        **IDS,
        "sep_token_id": 97,
        "vocab_size": 99,
        "encoder_hidden_size": 32,
        "num_hidden_layers": 3,
    }
    text |= {"max_position_embeddings": 64, "is_decoder": True, "projection_dim": 16}
    text |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = "BlipForQuestionAnswering" if answers else "BlipForConditionalGeneration"
    return {"model": model, "vision_config": SHORT, "text_config": text, "projection_dim": 16}


def _asked_blip(answers: bool = False, pads: Sequence[int] = (0, 2), side: int = 16, seed: int = 1) -> dict[str, Any]:
    inputs = crossing.pictured(pads, seed, side)
    return crossing.labelled(inputs) if answers else inputs


def _whisper() -> dict[str, Any]:
    sizes = {"encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    sizes |= {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 99, "num_mel_bins": 8}
    sizes |= {"max_source_positions": 12, "max_target_positions": 40, "decoder_start_token_id": crossing.START}
    return {**IDS, **sizes, "suppress_tokens": None, "begin_suppress_tokens": None}


def _begins(model: Any) -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        **IDS,
        decoder_start_token_id=crossing.START,
        no_timestamps_token_id=crossing.NO_TIMESTAMPS,
        is_multilingual=False,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )


_BART = {"d_model": 32, "decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}
_DECODERS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "bert": {**WIDTH, "num_hidden_layers": 3},
    "trocr": _BART,
    "mbart": _BART,
}
"""Decoders of a VisionEncoderDecoderModel -> their sizes."""
_SWIN = {"image_size": 16, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2}


def _pair(encoder: str = "vit", text: str = "gpt2") -> dict[str, Any]:
    """Any encoder, with 16 image tokens (4 of "donut-swin"), and one of `_DECODERS`."""
    check_text(text, _DECODERS)
    writing = {**IDS, **_DECODERS[text], "vocab_size": 99, "is_decoder": True, "add_cross_attention": True}
    seeing = _SWIN if encoder == "donut-swin" else SHORT
    return {"encoder": {"model_type": encoder, **seeing}, "decoder": {"model_type": text, **writing}}


def _starts(model: Any) -> None:
    for where in (model.config, model.generation_config):
        where.decoder_start_token_id, where.pad_token_id, where.eos_token_id = 1, 0, 97


def _idefics(resampler: bool = False, norms: bool = False) -> dict[str, Any]:
    """3 layers, each after a cross-attention; with a resampler to 6 latents, or norms after queries and keys."""
    vision = {"embed_dim": 32, "image_size": 16, "patch_size": 4, "num_hidden_layers": 2, "num_attention_heads": 4}
    latents = {"resampler_n_latents": 6, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 8}
    return {
        **{**WIDTH, **IDS, "vocab_size": 99, "additional_vocab_size": 0, "num_hidden_layers": 3},
        **{"cross_layer_interval": 1, "max_position_embeddings": 64, "qk_layer_norms": norms},
        "use_resampler": resampler,
        "vision_config": {**vision, "intermediate_size": 64, "vision_intermediate_size": 64},
        "perceiver_config": {**latents, "use_resampler": resampler},
    }


CROSSING = (1, 3, 5)
"""The layers of Mllama's language model that read images."""


def _mllama(tiles: int = 1) -> dict[str, Any]:
    """16 image tokens and [CLS] in each of at most so many tiles, 6 layers of which 3 read them."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1}
    vision |= {"attention_heads": 4, "image_size": 16, "patch_size": 4, "max_num_tiles": tiles, "vision_output_dim": 64}
    shapes = [[1, 1]] if tiles == 1 else [[1, 1], [1, 2], [2, 1]]
    text = {**TEXT, "num_hidden_layers": 6, "max_position_embeddings": 128, "cross_attention_layers": list(CROSSING)}
    return {
        "vision_config": {**vision, "intermediate_layers_indices": [0], "supported_aspect_ratios": shapes},
        "text_config": {**text, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        "image_token_index": crossing.IMAGE,
    }


# --- image encoders ------------------------------------------------------------------------------------------------

_ALONE = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "image_size": 16, "patch_size": 4}
_WORDS = {**WIDTH, "num_hidden_layers": 3, "vocab_size": 99, "max_position_embeddings": 12}
_WORDS |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _clip(model: str = "CLIPModel") -> dict[str, Any]:
    vision = {**VISION, "projection_dim": 24}
    if model.startswith("CLIPVision"):
        return {"model": model, **vision}
    text = {**_WORDS, "projection_dim": 24}
    return {"model": model, "text_config": text, "vision_config": vision, "projection_dim": 24, "num_labels": 7}


def _siglip(model: str = "SiglipModel") -> dict[str, Any]:
    if model == "SiglipVisionModel":
        return {"model": model, **VISION}
    text = {**_WORDS, "projection_size": 32}
    return {"model": model, "text_config": text, "vision_config": VISION, "num_labels": 7}


def _dinov2(model: str = "Dinov2WithRegistersModel") -> dict[str, Any]:
    registers = {"num_register_tokens": 2} if "WithRegisters" in model else {}
    return {"model": model, **_ALONE, "mlp_ratio": 2, **registers, "num_labels": 7}


def _vit(model: str = "ViTForImageClassification") -> dict[str, Any]:
    return {"model": model, **VISION, "num_labels": 7}


def _timm(**options: Any) -> dict[str, Any]:
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 4, "mlp_ratio": 2}
    return {**sizes, "num_classes": 7, "reg_tokens": 2, **options}


def _seen(model: Any, _: Any) -> Any:
    return getattr(model, "vision_model", model)(encoders.pictures(images=4, seed=99)["pixel_values"])


def _encoder(model: str, config: Callable[..., Mapping[str, Any]], inputs: Callable[..., dict[str, Any]]) -> Row:
    return Row(model, config, inputs, (Spread("*", look=_seen),), ones=("scale", "lambda"))


ROWS: Mapping[str, Row] = {
    "blip2": Row("Blip2ForConditionalGeneration", _blip2, qformer.prompts, _BEFORE_TEXT, look_at_images),
    "blip2-retrieval": Row("Blip2ForImageTextRetrieval", _retrieval, qformer.texts, _BEFORE_TEXT, look_at_images),
    "instructblip": Row(
        "InstructBlipForConditionalGeneration", _instructblip, qformer.questioned, _BEFORE_TEXT, look_at_images
    ),
    "instructblip-video": Row(
        "InstructBlipVideoForConditionalGeneration", _instructblipvideo, qformer.films, _BEFORE_TEXT, look_at_images
    ),
    "llava": _row_in_prompt(
        "LlavaForConditionalGeneration", _in_prompt({**VISION, **CLIP}, "llama", {}), _shown(16, prompt.pixels)
    ),
    "vipllava": _row_in_prompt("VipLlavaForConditionalGeneration", _vipllava, _shown(16, prompt.pixels)),
    "llava-next": _row_in_prompt(
        "LlavaNextForConditionalGeneration",
        _in_prompt({**VISION, **CLIP, "patch_size": 8}, "mistral", _TILES),
        _shown(14, _tiles),
        prompt.tiles,
        _TILE,
        _OTHER,
    ),
    "llava-onevision": _row_in_prompt(
        "LlavaOnevisionForConditionalGeneration", _onevision, _shown(14, _tiles), prompt.tiles, _TILE, _OTHER
    ),
    "idefics2": _row_in_prompt(
        "Idefics2ForConditionalGeneration",
        _in_prompt({**VISION, "num_hidden_layers": 1}, "mistral", {"perceiver_config": _RESAMPLER}, "image_token_id"),
        _shown_in_rows(8, around=89),
        prompt.pixels,
        2,
        1,
    ),
    "idefics3": _row_in_prompt(
        "Idefics3ForConditionalGeneration",
        _in_prompt(FINE, "llama", {"scale_factor": 2, "pad_token_id": 0}, "image_token_id"),
        _shown_in_rows(16, around=89),
        prompt.pixels,
        2,
        1,
    ),
    "smolvlm": _row_in_prompt(
        "SmolVLMForConditionalGeneration",
        _in_prompt(FINE, "llama", {"scale_factor": 2, "pad_token_id": 0}, "image_token_id"),
        _shown_in_rows(16, around=89),
        prompt.pixels,
        2,
        1,
    ),
    "paligemma": _row_in_prompt(
        "PaliGemmaForConditionalGeneration",
        _in_prompt({**VISION, **SIGLIP}, "gemma", {"projection_dim": 32, "hidden_size": 32}),
        _shown(16, prompt.pixels),
    ),
    "gemma3": _row_in_prompt(
        "Gemma3ForConditionalGeneration",
        _in_prompt(
            {**FINE, **SIGLIP},
            "gemma3_text",
            {"mm_tokens_per_image": 16, "boi_token_index": 91, "eoi_token_index": 92},
        ),
        _shown(16, prompt.pixels),
    ),
    "internvl": _row_in_prompt(
        "InternVLForConditionalGeneration",
        _in_prompt(
            {**FINE, "image_size": [16, 16], "patch_size": [2, 2], "use_qk_norm": True},
            "qwen2",
            {"image_seq_length": 16},
            "image_token_id",
        ),
        _shown(16, prompt.pixels),
    ),
    "aya-vision": _row_in_prompt(
        "AyaVisionForConditionalGeneration", _in_prompt({**FINE, **SIGLIP}, "cohere2", {}), _shown(16, prompt.pixels)
    ),
    "mistral3": _row_in_prompt(
        "Mistral3ForConditionalGeneration",
        _in_prompt({**FINE, "model_type": "pixtral", "head_dim": 8}, "mistral", {}),
        _shown(16, _squares),
        prompt.shapes,
        (16, 16),
        (8, 16),
    ),
    "llava, deep": Row(
        "LlavaForConditionalGeneration",
        _deep_llava,
        _deeply_shown,
        (Spread("model.language_model.layers.*.self_attn", over=None),),
        looked_at={"pads": (0, 0)},
    ),
    "qwen2-vl": _row_of_qwen(
        "Qwen2VLForConditionalGeneration", _qwen({"depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2})
    ),
    "qwen2-5-vl": _row_of_qwen(
        "Qwen2_5_VLForConditionalGeneration",
        _qwen(
            {
                **{"depth": 3, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32},
                **{"window_size": 16, "fullatt_block_indexes": [1]},
            }
        ),
    ),
    "qwen3-vl": _row_of_qwen(
        "Qwen3VLForConditionalGeneration",
        _qwen(
            {
                **{"depth": 3, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32},
                **{"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
            },
            head_dim=8,
        ),
    ),
    "blip": Row(
        "BlipForConditionalGeneration",
        _blip,
        _asked_blip,
        (Spread("vision_model.encoder.layers.*.self_attn"), Spread("*.crossattention.self")),
        attention="eager",
    ),
    "whisper": Row(
        "WhisperForConditionalGeneration",
        _whisper,
        crossing.sounds,
        (Spread("model.encoder.layers.*.self_attn"), Spread("model.decoder.layers.*.encoder_attn")),
        made=_begins,
    ),
    "vision-encoder-decoder": Row(
        "VisionEncoderDecoderModel",
        _pair,
        crossing.written,
        (
            Spread("encoder.layers.*.attention"),
            Spread("decoder.transformer.h.*.crossattention"),
            Spread("decoder.bert.encoder.layer.*.crossattention.self"),
            Spread("decoder.model.decoder.layers.*.encoder_attn"),
        ),
        made=_starts,
    ),
    "idefics": Row(
        "IdeficsForVisionText2Text",
        _idefics,
        crossing.idefics,
        (Spread("model.vision_model.encoder.layers.*.self_attn"), Spread("model.gated_cross_attn_layers.*.cross_attn")),
        fill={".alpha_": 0.7},
    ),
    "mllama": Row(
        "MllamaForConditionalGeneration",
        _mllama,
        crossing.mllama,
        (
            Spread("model.vision_model.transformer.layers.*.self_attn"),
            Spread("model.language_model.layers.*.cross_attn"),
        ),
        fill={"_gate": 0.7},
    ),
    "clip": _encoder("CLIPModel", _clip, encoders.captions),
    "siglip": _encoder("SiglipModel", _siglip, encoders.captions),
    "dinov2": _encoder("Dinov2WithRegistersModel", _dinov2, encoders.pictures),
    "vit": _encoder("ViTForImageClassification", _vit, encoders.pictures),
    "timm-vit": _encoder("timm.models.vision_transformer.VisionTransformer", _timm, encoders.timm_pictures),
}
"""Family, by the name of its adapter -> its tiny model."""
