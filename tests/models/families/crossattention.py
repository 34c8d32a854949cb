"""Models whose decoder cross-attends to an encoder: tokens leave at the encoder's output, or inside the decoder.

At the encoder's output the oracle is the decoder, fed by hand; inside the decoder, and where rows keep different counts
of tokens, it is the whole model with a mask on the dropped tokens in each of the later cross-attention layers.
"""

from functools import partial

import torch
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from tokprune.outputs import answer_of
from tokprune.testing.tiny_crossattention import (
    BOS,
    EOS,
    NO_TIMESTAMPS,
    PAD,
    START,
    answers_to,
    pictures,
    prompts,
    sounds,
    tiny_blip,
    tiny_vision_encoder_decoder,
    tiny_whisper,
)

from ..masking import Masking
from .family import Family

TOKEN_SCORERS = ("distinct", "first", "l2-norm", "random", "stride")
SCORERS = (*TOKEN_SCORERS, "received-attention", "self-attention", "catp-vote", "focus", "text-attention")


def shrunk(states, kept, protected):
    """The kept rows of `states` `[image token dim]`, and the protected ones in front."""
    rows = torch.cat([torch.ones(len(kept), protected, dtype=torch.bool), kept], dim=1)
    width = int(rows.sum(dim=1).max())
    return states[rows].view(len(states), width, -1)


def _blip(model, inputs, kept):
    """What BLIP's decoder reads."""
    image = shrunk(model.vision_model(inputs["pixel_values"]).last_hidden_state, kept, 1)
    return {"encoder_hidden_states": image, "encoder_attention_mask": torch.ones(image.shape[:2], dtype=torch.long)}


def _blip_caption(model, inputs, kept):
    with torch.no_grad():
        image = _blip(model, inputs, kept)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        return model.text_decoder(input_ids=ids, attention_mask=mask, **image).logits


def _blip_captions(model, inputs, kept, options):
    ids = inputs["input_ids"].clone()
    ids[:, 0] = BOS
    with torch.no_grad():
        found = model.text_decoder.generate(
            input_ids=ids[:, :-1],
            attention_mask=inputs["attention_mask"][:, :-1],
            eos_token_id=EOS,
            pad_token_id=PAD,
            **_blip(model, inputs, kept),
            **options,
        )
    return found[:, ids.shape[1] - 1 :]


def _question(model, inputs, kept):
    """What BLIP's question encoder makes of the question and the kept image tokens."""
    given = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    return model.text_encoder(**given, **_blip(model, inputs, kept))[0]


def _blip_answer(model, inputs, kept):
    with torch.no_grad():
        labels = inputs["labels"]
        question = {"encoder_hidden_states": _question(model, inputs, kept)}
        return model.text_decoder(input_ids=labels, labels=labels, **question, reduction="mean").loss


def _blip_answers(model, inputs, kept, options):
    with torch.no_grad():
        question = _question(model, inputs, kept)
        return model.text_decoder.generate(
            input_ids=torch.full((len(kept), 1), BOS),
            eos_token_id=EOS,
            pad_token_id=PAD,
            encoder_hidden_states=question,
            encoder_attention_mask=torch.ones(question.shape[:2], dtype=torch.long),
            **options,
        )


def _encoded(states):
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=states)}


def inside_encoder(begin, layers, norm, protected):
    """What an encoder gives whose first layer sees all tokens, and later ones those of `kept`, run layer by layer."""

    def states(model, inputs, kept):
        with torch.no_grad():
            hidden = begin(model, inputs)
            for number, layer in enumerate(layers(model)):
                hidden = layer(hidden, None)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
                hidden = hidden if number else shrunk(hidden, kept, protected)
            return norm(model)(hidden)

    return states


def whisper_begins(model, inputs):
    """What enters the first layer of Whisper's encoder."""
    encoder, gelu = model.model.encoder, torch.nn.functional.gelu
    return gelu(encoder.conv2(gelu(encoder.conv1(inputs["input_features"])))).mT + encoder.embed_positions.weight


def _whisper_output(model, inputs, kept):
    return shrunk(model.model.encoder(inputs["input_features"]).last_hidden_state, kept, 0)


_whisper_inside = inside_encoder(
    whisper_begins, lambda model: model.model.encoder.layers, lambda model: model.model.encoder.layer_norm, 0
)
_vit_inside = inside_encoder(
    lambda model, inputs: model.encoder.embeddings(inputs["pixel_values"]),
    lambda model: model.encoder.layers,
    lambda model: model.encoder.layernorm,
    1,
)


def _vit_output(model, inputs, kept):
    return shrunk(model.encoder(inputs["pixel_values"]).last_hidden_state, kept, 1)


def _whisper_logits(states, model, inputs, kept):
    with torch.no_grad():
        return model(decoder_input_ids=inputs["decoder_input_ids"], **_encoded(states(model, inputs, kept))).logits


def _written(inputs):
    return {name: value for name, value in inputs.items() if name.startswith("decoder")}


def _pictures(states):
    def hand_fed(model, inputs, kept):
        with torch.no_grad():
            return model(**_encoded(states(model, inputs, kept)), **_written(inputs)).logits

    def generated(model, inputs, kept, options):
        with torch.no_grad():
            found = model.generate(**_encoded(states(model, inputs, kept)), **_written(inputs), **options)
        return _after_written(model, inputs, found)

    return {"generated": generated, "oracle": hand_fed}


def _after_written(model, inputs, sequences):
    return sequences[:, inputs["decoder_input_ids"].shape[1] + 1 :]  # one token to start with is put in front


def _whisper_tokens(states, model, inputs, kept, options):
    # Its own `generate` takes features to be sound of full length; what is below it is told what it works out.
    # Without a temperature it draws nothing, so that all samples are the same.
    begin = torch.tensor([[START, NO_TIMESTAMPS]]).repeat(len(kept), 1)
    copies = options.get("num_return_sequences", 1)
    options = {**options, "do_sample": False, "num_return_sequences": 1}
    with torch.no_grad():
        found = GenerationMixin.generate(
            model, **_encoded(states(model, inputs, kept)), decoder_input_ids=begin, **options
        )
    return found[:, 2:].repeat_interleave(copies, dim=0)


def _masked(paths, name, protected, asked=dict, new=lambda model, inputs, sequences: sequences, hand_fed=None):
    """Oracles of a cut behind the first cross-attention layer: later ones have the dropped tokens masked.

    With `hand_fed`, an oracle for equal numbers of tokens, those of a cut in front of all layers.
    """
    later = paths if hand_fed else paths[1:]

    def oracle(model, inputs, kept):
        if hand_fed and len(set(kept.sum(dim=1).tolist())) == 1:
            return hand_fed(model, inputs, kept)
        with torch.no_grad(), Masking(model, later, name, kept, protected):
            return answer_of(model(**inputs))

    def generated(model, inputs, kept, options):
        with torch.no_grad(), Masking(model, later, name, kept, protected):
            return new(model, inputs, model.generate(**asked(inputs), **options))

    if hand_fed:
        return {"oracle": oracle}
    return {"oracle": oracle, "generated": generated, "tolerance": 1e-5}


def _unlabelled(inputs):
    return {name: value for name, value in inputs.items() if name != "labels"}


def _sound(inputs):
    return {"input_features": inputs["input_features"]}


def _after_caption(model, inputs, sequences):
    return sequences[:, inputs["input_ids"].shape[1] - 1 :]


_INSIDE = {"options": {"after": 1}, "scorers": SCORERS}
_ENCODER = {
    "options": {"after": 1, "inside": "encoder"},
    "scorers": (*TOKEN_SCORERS, "received-attention", "self-attention"),
    "uneven": False,
}
_OUTSIDE = {"scorers": SCORERS, "gaps": 1e-5}
_LAYERS = range(3)
CAPTIONS = [f"text_decoder.bert.encoder.layer.{i}.crossattention.self" for i in _LAYERS]
ANSWERS = [f"text_encoder.encoder.layer.{i}.crossattention.self" for i in _LAYERS]
WHISPER = [f"model.decoder.layers.{i}.encoder_attn" for i in _LAYERS]
GPT2 = [f"decoder.transformer.h.{i}.crossattention" for i in _LAYERS]
BERT = [f"decoder.bert.encoder.layer.{i}.crossattention.self" for i in _LAYERS]
TROCR = [f"decoder.model.decoder.layers.{i}.encoder_attn" for i in _LAYERS]

_captions = {
    "adapter": "blip",
    "build": tiny_blip,
    "inputs": prompts,
    "tokens": (16, 16),
    "new_tokens": _after_caption,
    "several": {"one row": lambda: prompts(pads=(0,)), "three rows": lambda: prompts(pads=(0, 1, 0))},
}
_answers = {
    "adapter": "blip",
    "build": lambda: tiny_blip(answers=True),
    "inputs": answers_to(prompts),
    "tokens": (16, 16),
    "asked": _unlabelled,
}
_sounds = {
    "adapter": "whisper",
    "target": "audio",
    "build": tiny_whisper,
    "inputs": sounds,
    "tokens": (12, 12),
    "asked": _sound,
}


def _pairs(encoder, decoder, attention="sdpa"):
    return {
        "adapter": "vision-encoder-decoder",
        "build": partial(tiny_vision_encoder_decoder, encoder, decoder, attention),
        "inputs": pictures,
        "tokens": (16, 16),
        "new_tokens": _after_written,
    }


FAMILIES = [
    Family(
        name="blip captions",
        generated=_blip_captions,
        **_captions,
        **_OUTSIDE,
        **_masked(CAPTIONS, "encoder_attention_mask", 1, hand_fed=_blip_caption),
    ),
    Family(
        name="blip captions inside the decoder",
        **_captions,
        **_INSIDE,
        **_masked(CAPTIONS, "encoder_attention_mask", 1, new=_after_caption),
    ),
    Family(
        name="blip answers",
        generated=_blip_answers,
        **_answers,
        **_OUTSIDE,
        **_masked(ANSWERS, "encoder_attention_mask", 1, hand_fed=_blip_answer),
    ),
    Family(
        name="blip answers inside the question's encoder",
        **_answers,
        **_INSIDE,
        **_masked(ANSWERS, "encoder_attention_mask", 1, _unlabelled),
    ),
    Family(
        name="whisper",
        generated=partial(_whisper_tokens, _whisper_output),
        **_sounds,
        **_OUTSIDE,
        **_masked(WHISPER, "attention_mask", 0, hand_fed=partial(_whisper_logits, _whisper_output)),
    ),
    Family(
        name="whisper inside the encoder",
        generated=partial(_whisper_tokens, _whisper_inside),
        oracle=partial(_whisper_logits, _whisper_inside),
        **_sounds,
        **_ENCODER,
    ),
    Family(
        name="whisper inside the decoder",
        **_sounds,
        **_INSIDE,
        **_masked(WHISPER, "attention_mask", 0, _sound),
    ),
    Family(
        name="vit and gpt-2",
        **_pairs("vit", "gpt2"),
        **_OUTSIDE,
        **{
            **_pictures(_vit_output),
            **_masked(GPT2, "encoder_attention_mask", 1, hand_fed=_pictures(_vit_output)["oracle"]),
        },
    ),
    Family(name="vit and gpt-2 inside the encoder", **_pairs("vit", "gpt2"), **_ENCODER, **_pictures(_vit_inside)),
    Family(
        name="vit and gpt-2 inside the decoder",
        **_pairs("vit", "gpt2"),
        **_INSIDE,
        **_masked(GPT2, "encoder_attention_mask", 1, new=_after_written),
    ),
]
