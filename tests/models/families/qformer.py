"""Models with a Q-Former: query tokens in front of whatever reads them, image tokens inside the encoder."""

from dataclasses import replace
from functools import partial

import torch

from tokprune.testing import tiny_blip2_retrieval, tiny_instructblip, tiny_instructblipvideo
from tokprune.testing.tiny_blip2 import QUERIES, prompts, tiny_blip2, tiny_blip2_model
from tokprune.testing.tiny_blip2_retrieval import tiny_blip2_vision
from tokprune.testing.tiny_instructblip import tiny_instructblip as instructblip
from tokprune.testing.tiny_instructblipvideo import FRAMES
from tokprune.testing.tiny_instructblipvideo import tiny_instructblipvideo as instructblipvideo

from ..calls import answer
from ..image_oracle import TOKENS, answer_by_hand, logits_by_hand
from ..keeping import IMAGE_SCORERS, QUERY_SCORERS
from ..oracle import hand_fed, oracle_answer, oracle_logits
from ..retrieval_oracle import index, matching, of_images, of_queries, similarity
from .family import Family

AFTER = 2
"""Behind how many of the encoder's three layers image tokens leave."""


def _decoding(inputs):
    """Inputs as they are, and what a T5 needs besides."""
    return lambda: {**inputs(), "decoder_input_ids": torch.tensor([[0, 2, 12, 13]] * 2)}


def _with_decoder(inputs, options):
    return {name: inputs[name] for name in ("decoder_input_ids",) if name in inputs} | dict(options)


def _logits(model, inputs, kept):
    return oracle_logits(model, inputs, hand_fed(model, inputs, kept))


def _answer(model, inputs, kept, options):
    torch.manual_seed(7)
    return oracle_answer(model, hand_fed(model, inputs, kept), **_with_decoder(inputs, options))


def _by_hand(run, model, inputs, kept, *options):
    points = lambda maps, tokens: kept.float().tolist()  # noqa: E731
    return run(model, inputs, {AFTER: int(kept[0].sum())}, *options, points=points)


def _image_logits(model, inputs, kept):
    return _by_hand(logits_by_hand, model, inputs, kept)


def _image_answer(model, inputs, kept, options):
    torch.manual_seed(7)
    return _by_hand(answer_by_hand, model, inputs, kept, _with_decoder(inputs, options))


def _delegated(name, adapter, kind, build, inputs, images=2, **more):
    """Both targets of a model with a language model."""
    common = {
        "adapter": adapter,
        "build": build,
        "inputs": _decoding(inputs) if kind == "t5" else inputs,
        "new_tokens": None if kind == "t5" else answer,
        **more,
    }
    return [
        Family(
            name=f"{name} with {kind}, query tokens",
            target="query",
            oracle=_logits,
            generated=_answer,
            tokens=(QUERIES,) * images,
            scorers=QUERY_SCORERS,
            **common,
        ),
        Family(
            name=f"{name} with {kind}, image tokens",
            target="image",
            oracle=_image_logits,
            generated=_image_answer,
            tokens=(TOKENS,) * images,
            scorers=IMAGE_SCORERS,
            options={"after": AFTER},
            uneven=False,
            **common,
        ),
    ]


def _retrieving(name, build, inputs, head, **more):
    """Query tokens in front of one of the heads that no language model stands behind."""
    return Family(
        name=f"{name}, query tokens",
        adapter="blip2-retrieval",
        target="query",
        build=build,
        inputs=inputs,
        oracle=partial(of_queries, head),
        tokens=(QUERIES, QUERIES),
        scorers=QUERY_SCORERS,
        uneven=False,
        **more,
    )


def _texts(images=2, pads=(0, 3), **options):
    return lambda: {**tiny_blip2_retrieval.prompts(images, pads), **options}


def _pictures():
    return {"pixel_values": tiny_blip2_retrieval.prompts()["pixel_values"]}


_OPT = _delegated(
    "blip2", "blip2", "opt", tiny_blip2, prompts, several={"two images in a row": lambda: prompts(images=(2, 1))}
)

_T5 = _delegated("blip2", "blip2", "t5", partial(tiny_blip2, "t5"), partial(prompts, "t5"))
_MODEL = _delegated("blip2 without generate", "blip2", "opt", tiny_blip2_model, prompts)
_LLAMA = _delegated(
    "instructblip",
    "instructblip",
    "llama",
    instructblip,
    tiny_instructblip.prompts,
    several={"padding in front": lambda: tiny_instructblip.prompts(side="left")},
)
_FLAN = _delegated(
    "instructblip", "instructblip", "t5", partial(instructblip, "t5"), partial(tiny_instructblip.prompts, "t5")
)
_VIDEO = _delegated(
    "instructblip-video",
    "instructblip-video",
    "llama",
    instructblipvideo,
    tiny_instructblipvideo.prompts,
    images=2 * FRAMES,
    several={"one video of three frames": lambda: tiny_instructblipvideo.prompts(pads=(2,), frames=3)},
)
_VIDEO_T5 = _delegated(
    "instructblip-video",
    "instructblip-video",
    "t5",
    partial(instructblipvideo, "t5"),
    partial(tiny_instructblipvideo.prompts, "t5"),
    images=2 * FRAMES,
)
_RETRIEVAL = [
    _retrieving(
        "blip2-retrieval with the contrastive head",
        tiny_blip2_retrieval.tiny_blip2_retrieval,
        _texts(),
        similarity,
        several={"one image and three texts": _texts(1, (0, 1, 2))},
    ),
    _retrieving(
        "blip2-retrieval with the matching head",
        tiny_blip2_retrieval.tiny_blip2_retrieval,
        _texts(use_image_text_matching_head=True),
        matching,
    ),
    _retrieving(
        "blip2-retrieval, only images",
        tiny_blip2_vision,
        _pictures,
        lambda model, inputs, states, kept: index(model, states, kept),
    ),
    Family(
        name="blip2-retrieval, image tokens",
        adapter="blip2-retrieval",
        build=tiny_blip2_retrieval.tiny_blip2_retrieval,
        inputs=_texts(),
        oracle=partial(_by_hand, partial(of_images, similarity)),
        tokens=(TOKENS, TOKENS),
        scorers=IMAGE_SCORERS,
        options={"after": AFTER},
        uneven=False,
    ),
]

FAMILIES = [*_OPT, _T5[0], replace(_MODEL[0], generated=None), *_LLAMA, *_FLAN, *_VIDEO, _VIDEO_T5[0], *_RETRIEVAL]
