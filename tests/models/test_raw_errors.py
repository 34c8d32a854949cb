"""What works on an unpruned model works on the pruned one, or is refused in words: never an error of torch's."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache

import tokprune
from tokprune.errors import UnsupportedCallError
from tokprune.outputs import answer_of

from .families.every import FAMILIES
from .test_families import lent


def finished_mask(model, inputs):
    rows, length = inputs["input_ids"].shape
    return model(**{**inputs, "attention_mask": torch.ones(rows, 1, length, length, dtype=torch.bool).tril()})


def positions(model, inputs):
    ids = inputs["input_ids"]
    return model(**inputs, position_ids=torch.arange(ids.shape[1]).expand(ids.shape).contiguous())


def empty_cache(model, inputs):
    return model(**inputs, past_key_values=DynamicCache())


def two_empty_caches(model, inputs):
    return model(**inputs, past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()))


def pieces(model, inputs):
    return model.generate(**inputs, max_new_tokens=2, do_sample=False, prefill_chunk_size=4)


def vmap(model, inputs):
    name = next(name for name, value in inputs.items() if value.is_floating_point())
    return torch.func.vmap(lambda value: answer_of(model(**{**inputs, name: value})))(inputs[name][None])


CALLS = (finished_mask, positions, empty_cache, two_empty_caches, pieces, vmap)
KINDS = {(family.adapter, family.target, bool(family.options)): family for family in FAMILIES}


def fits(family, call, inputs):
    if call is pieces:
        return family.generated is not None
    return call is vmap or ("input_ids" in inputs and not (call is two_empty_caches and "labels" in inputs))


def works(call, model, inputs):
    with torch.no_grad():
        try:
            call(model, inputs)
        except UnsupportedCallError:
            raise
        except Exception:
            return False
    return True


@pytest.mark.parametrize("family", KINDS.values(), ids=str)
def test_no_raw_error(family):
    model, inputs = lent(family), family.inputs()
    scorer = "l2-norm" if "l2-norm" in family.scorers else family.scorers[0]
    for call in CALLS:
        given = dict(family.asked(inputs)) if call is pieces and family.asked else inputs
        if not fits(family, call, given) or not works(call, model, given):
            continue
        with tokprune.apply(model, scorer=scorer, keep=3, target=family.target, **family.options) as handle:
            try:
                with torch.no_grad():
                    call(model, given)
            except UnsupportedCallError:
                assert handle.report is None, call
            else:
                assert handle.report is not None, call


NAMED = {family.name: family for family in FAMILIES}


@pytest.mark.parametrize(
    ("name", "call", "says"),
    [
        (
            "instructblip with llama, query tokens",
            finished_mask,
            r"attention_mask \[row sequence\].*got \[2, 1",
        ),
        ("instructblip with t5, query tokens", pieces, "prefill_chunk_size=4 lets the prompt come in pieces"),
        ("blip answers inside the question's encoder", empty_cache, r"cache \(past_key_values\) came with a question"),
        ("siglip", vmap, "call the model once for each"),
    ],
)
def test_what_is_refused_says_what_to_do(name, call, says):
    family = NAMED[name]
    model = lent(family)
    refused = pytest.raises(UnsupportedCallError, match=says)
    with tokprune.apply(model, scorer="l2-norm", keep=3, target=family.target, **family.options), refused:
        call(model, family.inputs())
