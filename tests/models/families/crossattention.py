"""Models whose decoder cross-attends to an encoder: tokens leave at the encoder's output, in front of the decoder."""

import torch
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

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

from .family import Family

TOKEN_SCORERS = ("distinct", "first", "l2-norm", "random", "stride")
ENCODER_SCORERS = (*TOKEN_SCORERS, "received-attention", "self-attention")


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


def _whisper(model, inputs, kept):
    with torch.no_grad():
        return _encoded(shrunk(model.model.encoder(inputs["input_features"]).last_hidden_state, kept, 0))


def _whisper_logits(model, inputs, kept):
    with torch.no_grad():
        return model(decoder_input_ids=inputs["decoder_input_ids"], **_whisper(model, inputs, kept)).logits


def _written(inputs):
    return {name: value for name, value in inputs.items() if name.startswith("decoder")}


def _pictures(protected):
    def encoded(model, inputs, kept):
        with torch.no_grad():
            return _encoded(shrunk(model.encoder(inputs["pixel_values"]).last_hidden_state, kept, protected))

    def oracle(model, inputs, kept):
        with torch.no_grad():
            return model(**encoded(model, inputs, kept), **_written(inputs)).logits

    def generated(model, inputs, kept, options):
        with torch.no_grad():
            found = model.generate(**encoded(model, inputs, kept), **_written(inputs), **options)
        return _after_written(model, inputs, found)

    return {"oracle": oracle, "generated": generated, "new_tokens": _after_written}


def _after_written(model, inputs, sequences):
    return sequences[:, inputs["decoder_input_ids"].shape[1] + 1 :]  # one token to start with is put in front


def _whisper_tokens(model, inputs, kept, options):
    # Its own `generate` takes features to be sound of full length; what is below it is told what it works out.
    # Without a temperature it draws nothing, so that all samples are the same.
    begin = torch.tensor([[START, NO_TIMESTAMPS]]).repeat(len(kept), 1)
    copies = options.get("num_return_sequences", 1)
    options = {**options, "do_sample": False, "num_return_sequences": 1}
    with torch.no_grad():
        found = GenerationMixin.generate(model, **_whisper(model, inputs, kept), decoder_input_ids=begin, **options)
    return found[:, 2:].repeat_interleave(copies, dim=0)


FAMILIES = [
    Family(
        name="blip captions",
        adapter="blip",
        build=tiny_blip,
        inputs=prompts,
        oracle=_blip_caption,
        generated=_blip_captions,
        tokens=(16, 16),
        scorers=ENCODER_SCORERS,
        new_tokens=lambda model, inputs, sequences: sequences[:, inputs["input_ids"].shape[1] - 1 :],
        several={"one row": lambda: prompts(pads=(0,)), "three rows": lambda: prompts(pads=(0, 1, 0))},
        uneven=False,
    ),
    Family(
        name="blip answers",
        adapter="blip",
        build=lambda: tiny_blip(answers=True),
        inputs=answers_to(prompts),
        oracle=_blip_answer,
        generated=_blip_answers,
        asked=lambda inputs: {name: value for name, value in inputs.items() if name != "labels"},
        tokens=(16, 16),
        scorers=ENCODER_SCORERS,
        uneven=False,
    ),
    Family(
        name="whisper",
        adapter="whisper",
        target="audio",
        build=tiny_whisper,
        inputs=sounds,
        oracle=_whisper_logits,
        tokens=(12, 12),
        scorers=ENCODER_SCORERS,
        uneven=False,
        generated=_whisper_tokens,
        asked=lambda inputs: {"input_features": inputs["input_features"]},
    ),
    Family(
        name="vit and gpt-2",
        adapter="vision-encoder-decoder",
        build=tiny_vision_encoder_decoder,
        inputs=pictures,
        tokens=(16, 16),
        scorers=ENCODER_SCORERS,
        uneven=False,
        **_pictures(1),
    ),
]
