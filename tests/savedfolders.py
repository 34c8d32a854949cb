"""Folders of tiny random models as `save_pretrained` leaves them, each with a real processor of transformers.

The processors are built offline: an image processor that gives the tiny encoder's size, and a tokenizer of a few words
whose special tokens have the ids that the tiny models were made with.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import transformers
from PIL import Image
from scipy.io import wavfile
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from tokprune.testing import tiny_blip2, tiny_crossattention, tiny_embed, tiny_inside, tiny_mllama, tiny_qwen

SENTENCES = (
    "user : what colour is the circle ? assistant : red",
    "how many squares are there in this picture ? two of them",
    "question : is it a cat or dog , left near right below above green blue one three",
    "short answer caption en no yes at noise an and on to",
)
WORDS = list(dict.fromkeys(" ".join(SENTENCES).split()))
SIDE = 16
"""Pixels along a side of the tiny encoders' images."""
_PAD, _BOS, _UNKNOWN, _EOS, _SIZE = 0, 1, 2, 97, 99
CHAT = (
    "{% for message in messages %}{{ message['role'] }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
"""A chat template; a family puts its placeholder where it says IMAGE."""


def tokenizer(special: dict[int, str] | None = None, begins: bool = True, ends: bool = False, **attributes: Any) -> Any:
    """A tokenizer of whole words.

    Args:
        special: id -> special token, besides padding, beginning, unknown and end.
        begins: whether a text begins with the beginning.
        ends: whether it ends with the end.
        attributes: name -> special token, such as `image_token="<image>"`, for tokenizers that know their names.
    """
    tokens = {_PAD: "<pad>", _BOS: "<s>", _UNKNOWN: "<unk>", _EOS: "</s>"} | (special or {})
    free = iter([*WORDS, *(f"word{number}" for number in range(_SIZE))])
    ids = {tokens.get(number) or next(free): number for number in range(_SIZE)}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.WordPiece(prefix="##")  # puts blanks between words
    inner.add_special_tokens([*tokens.values()])
    if begins:
        around = "<s> $A </s>" if ends else "<s> $A"
        inner.post_processor = TemplateProcessing(single=around, special_tokens=[("<s>", _BOS), ("</s>", _EOS)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=attributes or None,
        model_max_length=200,
    )


def llava() -> tuple[Any, Any]:
    """LLaVA, its language model deep enough to prune inside."""
    words = tokenizer({90: "<image>"}, image_token="<image>")
    return tiny_inside.tiny_inside(), transformers.LlavaProcessor(
        _clip(), words, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1, **_chat()
    )


def vipllava() -> tuple[Any, Any]:
    """VipLLaVA, which has LLaVA's processor."""
    return tiny_embed.tiny_vipllava(), llava()[1]


def llava_next() -> tuple[Any, Any]:
    """LLaVA-NeXT: tiles."""
    pictures = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": SIDE}, crop_size=_square(), image_grid_pinpoints=[[16, 32], [32, 16]]
    )
    return tiny_embed.tiny_llava_next(), transformers.LlavaNextProcessor(
        pictures,
        tokenizer({90: "<image>"}, image_token="<image>"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        **_chat(),
    )


def llava_onevision() -> tuple[Any, Any]:
    """LLaVA-OneVision: tiles, and videos."""
    pictures = transformers.LlavaOnevisionImageProcessor(size=_square(), image_grid_pinpoints=[[16, 32], [32, 16]])
    words = tokenizer({90: "<image>", 91: "<video>"}, image_token="<image>", video_token="<video>")
    return tiny_embed.tiny_llava_onevision(), transformers.LlavaOnevisionProcessor(
        pictures,
        words,
        transformers.LlavaOnevisionVideoProcessor(size=_square()),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        **_chat(),
    )


def idefics2() -> tuple[Any, Any]:
    """Idefics2: a resampler."""
    names = {90: "<image>", 91: "<fake_token_around_image>", 92: "<end_of_utterance>"}
    words = tokenizer(names, image_token=names[90], image_boundary_token=names[91])
    pictures = transformers.Idefics2ImageProcessor(
        size={"shortest_edge": SIDE, "longest_edge": SIDE}, do_image_splitting=False
    )
    return tiny_embed.tiny_idefics2(), transformers.Idefics2Processor(pictures, words, image_seq_len=8, **_chat())


def idefics3(smol: bool = False) -> tuple[Any, Any]:
    """Idefics3: squares of tokens become one."""
    names = {90: "<image>", 91: "<fake_token_around_image>", 92: "<end_of_utterance>", 93: "<global-img>"}
    fixed = {"size": {"longest_edge": SIDE}, "max_image_size": {"longest_edge": SIDE}, "do_image_splitting": False}
    model = tiny_embed.tiny_idefics3(smol=smol)
    if smol:
        # Without this package the processor refuses to be made; it names the numbers of frames of videos.
        smolvlm = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
        smolvlm.num2words = smolvlm.num2words or str
        return model, transformers.SmolVLMProcessor(
            transformers.SmolVLMImageProcessor(**fixed),
            tokenizer(names | {94: "<video>"}),
            transformers.SmolVLMVideoProcessor(size={"longest_edge": SIDE}),
            image_seq_len=16,
            **_chat(),
        )
    pictures = transformers.Idefics3ImageProcessor(**fixed)
    return model, transformers.Idefics3Processor(pictures, tokenizer(names), image_seq_len=16, **_chat())


def smolvlm() -> tuple[Any, Any]:
    """SmolVLM."""
    return idefics3(smol=True)


def paligemma() -> tuple[Any, Any]:
    """PaliGemma: no chat template, and a processor that puts placeholders in front by itself."""
    pictures = transformers.SiglipImageProcessor(size=_square())
    pictures.image_seq_length = 16
    words = tokenizer({90: "<image>"}, begins=False, image_token="<image>")
    return tiny_embed.tiny_paligemma(), transformers.PaliGemmaProcessor(pictures, words)


def gemma3() -> tuple[Any, Any]:
    """Gemma 3: a word in front of each image, and one after it."""
    names = {90: "<image_soft_token>", 91: "<start_of_image>", 92: "<end_of_image>"}
    words = tokenizer(names, image_token=names[90], boi_token=names[91], eoi_token=names[92])
    return tiny_embed.tiny_gemma3(), transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessor(size=_square()), words, image_seq_length=16, **_chat("<start_of_image>")
    )


def internvl() -> tuple[Any, Any]:
    """InternVL."""
    names = {90: "<IMG_CONTEXT>", 91: "<img>", 92: "</img>", 93: "<video>"}
    words = tokenizer(
        names,
        context_image_token=names[90],
        start_image_token=names[91],
        end_image_token=names[92],
        video_token=names[93],
    )
    return tiny_embed.tiny_internvl(), transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(size=_square(), crop_to_patches=False),
        words,
        transformers.InternVLVideoProcessor(size=_square()),
        image_seq_length=16,
        **_chat("<IMG_CONTEXT>"),
    )


def aya_vision() -> tuple[Any, Any]:
    """Aya Vision."""
    names = {90: "<|IMG_PATCH|>", 91: "<image>", 92: "<|START_OF_IMG|>", 93: "<|END_OF_IMG|>"}
    names |= {94: "TILE", 95: "TILE_GLOBAL", 96: "<|IMG_LINE_BREAK|>"}
    return tiny_embed.tiny_aya_vision(), transformers.AyaVisionProcessor(
        transformers.GotOcr2ImageProcessor(size=_square(), crop_to_patches=False),
        tokenizer(names),
        patch_size=2,
        img_size=SIDE,
        downsample_factor=2,
        **_chat(),
    )


def mistral3() -> tuple[Any, Any]:
    """Mistral 3: images of any shape, a word after each row of their tokens."""
    names = {90: "[IMG]", 91: "[IMG_BREAK]", 92: "[IMG_END]"}
    pictures = transformers.PixtralImageProcessor(size={"longest_edge": SIDE}, patch_size=2)
    return tiny_embed.tiny_mistral3(), transformers.PixtralProcessor(
        pictures, tokenizer(names), patch_size=2, spatial_merge_size=2, **_chat("[IMG]")
    )


def qwen2_vl(model: Callable[[], Any] = tiny_qwen.tiny_qwen2_vl) -> tuple[Any, Any]:
    """Qwen2-VL: images of any shape."""
    names = {90: "<|image_pad|>", 91: "<|vision_start|>", 92: "<|vision_end|>", 93: "<|video_pad|>"}
    sizes = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2}
    pictures = transformers.Qwen2VLImageProcessor(size={"shortest_edge": 256, "longest_edge": 1024}, **sizes)
    videos = transformers.Qwen2VLVideoProcessor(size={"shortest_edge": 256, "longest_edge": 1024}, **sizes)
    kind = {
        tiny_qwen.tiny_qwen2_vl: transformers.Qwen2VLProcessor,
        tiny_qwen.tiny_qwen2_5_vl: transformers.Qwen2_5_VLProcessor,
        tiny_qwen.tiny_qwen3_vl: transformers.Qwen3VLProcessor,
    }[model]
    words = tokenizer(names, begins=False)
    return model(), kind(pictures, words, videos, **_chat("<|vision_start|><|image_pad|><|vision_end|>"))


def qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL."""
    return qwen2_vl(tiny_qwen.tiny_qwen2_5_vl)


def qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL."""
    return qwen2_vl(tiny_qwen.tiny_qwen3_vl)


def mllama(chat: bool = True) -> tuple[Any, Any]:
    """Mllama, with a chat template, or without as the base model is."""
    words = tokenizer({90: "<|image|>", 91: "<|python_tag|>"}, image_token="<|image|>")
    words.chat_template = None
    pictures = transformers.MllamaImageProcessor(size=_square(), max_image_tiles=1)
    return tiny_mllama.tiny_mllama(), transformers.MllamaProcessor(
        pictures, words, **(_chat("<|image|>") if chat else {})
    )


def mllama_base() -> tuple[Any, Any]:
    """Mllama without a chat template."""
    return mllama(chat=False)


def blip2() -> tuple[Any, Any]:
    """BLIP-2 with OPT."""
    pictures = transformers.BlipImageProcessor(size=_square())
    words = tokenizer({tiny_blip2.IMAGE: "<image>"})
    return tiny_blip2.tiny_blip2("opt"), transformers.Blip2Processor(pictures, words, num_query_tokens=8)


def instructblip() -> tuple[Any, Any]:
    """InstructBLIP with LLaMA: two tokenizers."""
    from tokprune.testing import tiny_instructblip

    pictures = transformers.BlipImageProcessor(size=_square())
    words = tokenizer({tiny_blip2.IMAGE: "<image>"})
    return tiny_instructblip.tiny_instructblip("llama"), transformers.InstructBlipProcessor(
        pictures, words, tokenizer(), num_query_tokens=8
    )


def blip(answers: bool = False) -> tuple[Any, Any]:
    """BLIP that writes captions."""
    pictures = transformers.BlipImageProcessor(size=_square())
    return tiny_crossattention.tiny_blip(answers), transformers.BlipProcessor(pictures, tokenizer(ends=True))


def blip_vqa() -> tuple[Any, Any]:
    """BLIP that answers questions."""
    return blip(answers=True)


def vision_encoder_decoder() -> tuple[Any, Any]:
    """ViT and GPT-2: an image processor and a tokenizer beside each other, no processor."""
    model = tiny_crossattention.tiny_vision_encoder_decoder()
    return model, (transformers.ViTImageProcessor(size=_square()), tokenizer())


def whisper() -> tuple[Any, Any]:
    """Whisper: sound."""
    sound = transformers.WhisperFeatureExtractor(
        feature_size=8, sampling_rate=16000, hop_length=666, chunk_length=1, n_fft=800
    )  # a second in 24 frames
    words = tokenizer({2: "<|startoftranscript|>", 96: "<|notimestamps|>"}, begins=False)
    return tiny_crossattention.tiny_whisper(), transformers.WhisperProcessor(sound, words)


IN_PROMPT = (
    *(llava, vipllava, llava_next, llava_onevision, idefics2, idefics3, smolvlm, paligemma, gemma3, internvl),
    *(aya_vision, mistral3, qwen2_vl, qwen2_5_vl, qwen3_vl),
)
"""Families whose language model reads image tokens in its prompt."""
OTHERS = (mllama, mllama_base, blip2, instructblip, blip, blip_vqa, vision_encoder_decoder)
"""The others that look at pictures."""


def save(family: Callable[[], tuple[Any, Any]], folder: Path) -> Path:
    """Writes model and processor of a family, and a picture and questions about it."""
    model, processor = family()
    model.save_pretrained(folder)
    for part in processor if isinstance(processor, tuple) else (processor,):
        part.save_pretrained(folder)
    return folder


def questions(folder: Path, count: int = 2) -> Path:
    """Writes a JSON Lines file of questions about small pictures, twice as wide as high."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(count):
        Image.effect_noise((32, 16), 60 + number).convert("RGB").save(folder / f"{number}.png")
        asked = "what colour is the circle ?" if number % 2 else "how many squares are there in this picture ?"
        lines.append({"image": f"{number}.png", "question": asked, "answers": ["red", "two"]})
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def transcripts(folder: Path, count: int = 2) -> Path:
    """Writes a JSON Lines file of short sounds of noise, and what is said in them."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(count):
        noise = numpy.random.default_rng(number).integers(-9000, 9000, 8000, dtype=numpy.int16)
        wavfile.write(folder / f"{number}.wav", 8000, noise)
        lines.append({"audio": f"{number}.wav", "answers": "Red, red red red!" if number else "how many squares"})
    path = folder / "transcripts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _chat(image: str = "<image>") -> dict[str, str]:
    return {"chat_template": CHAT.replace("IMAGE", image)}


def _square() -> dict[str, int]:
    return {"height": SIDE, "width": SIDE}


def _clip() -> Any:
    return transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=_square())
