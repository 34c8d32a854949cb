"""The processor of the bundled model: 64 x 64 pixels and a tokenizer that knows one word per token."""

from __future__ import annotations

from typing import Any

from tokprune.zoo.scenes import IMAGE_SIZE
from tokprune.zoo.vocabulary import BOS, EOS, IMAGE, PAD, UNKNOWN, VOCABULARY


def build_tokenizer() -> Any:
    """A `PreTrainedTokenizerFast`: lower-cases, splits at blanks and punctuation, pads left, puts BOS in front."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("color", "colour")])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )
    fast.add_tokens([_image_token()], special_tokens=True)
    return fast


def _image_token() -> Any:
    from transformers import AddedToken

    return AddedToken(IMAGE, normalized=False, special=True)


def build_processor(num_query_tokens: int = 32) -> Any:
    """A `Blip2Processor` for the bundled model."""
    from transformers import Blip2Processor, BlipImageProcessor

    images = BlipImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return Blip2Processor(images, build_tokenizer(), num_query_tokens=num_query_tokens)
