"""Which oracle a model is measured against, and what that one is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from tokprune.bench.insideoracle import inside_oracle_generate, inside_place
from tokprune.bench.oracle import Gift, kept_rows, oracle_generate
from tokprune.bench.promptoracle import image_tokens, prompt_oracle_generate
from tokprune.bench.speed.choices import Choice, check_removes, gift_of
from tokprune.bench.tileoracle import tile_oracle_generate, tile_rows
from tokprune.errors import InvalidValueError

_PROMPT = ("llava", "qwen2_5_vl")
"""Types of models of which the oracle knows how image tokens get into the prompt."""
_INSIDE = ("llava",)
"""Types of models of which it knows how image tokens leave after a layer of the language model."""
_TILES = ("mllama",)
"""Types of models that read the tokens of tiles by cross-attention."""


def oracle_of(
    model: Any, inputs: Mapping[str, Tensor], choices: Mapping[str, Choice], places: Sequence[int]
) -> Callable[..., Tensor]:
    """`generate` of an oracle for this model: a function of the options of `generate` that gives the new tokens.

    Args:
        model: A model without a cut.
        inputs: What its `generate` takes.
        choices: Target -> what was chosen, of `recorded`.
        places: After how many layers the encoder's sequence became shorter, of `recorded`.

    Raises:
        InvalidValueError: There is no oracle for this model, or for what the policies did.
    """
    if hasattr(model, "qformer"):
        return partial(oracle_generate, model, inputs, gift_of(model, inputs, choices, places))
    kind = model.config.model_type
    if kind not in (*_PROMPT, *_TILES):
        raise InvalidValueError(
            f"oracle: none is known for {type(model).__name__}; measure it unpruned with --policy none"
        )
    check_removes(choices)
    (choice,) = choices.values()
    needs = getattr(choice.policy.scorer, "needs", ())
    inside = choice.policy.after is not None or "cross_attention" in needs
    if (inside and kind not in _INSIDE) or len(choice.steps) != 1:
        raise InvalidValueError(
            f"oracle: expected one cut in front of the language model, got {choice.policy}; choose a scorer that needs "
            "no cross_attention, and omit `after`"
        )
    kept = choice.report.kept
    if kind in _TILES:
        if choice.policy.reduction.reads_tokens:
            raise InvalidValueError(f"oracle: merged tokens cannot be handed to {type(model).__name__}; use 'prune'")
        return partial(tile_oracle_generate, model, inputs, tile_rows(kept))
    rows = kept_rows(inputs["input_ids"], kept, model.config.image_token_id)
    if inside:
        if choice.policy.reduction.reads_tokens:
            raise InvalidValueError("oracle: merged tokens cannot be handed to layers of a language model; use 'prune'")
        return partial(inside_oracle_generate, model, inputs, rows, inside_place(model, choice.policy.after))
    prefix = None
    if choice.policy.reduction.reads_tokens:
        tokens = image_tokens(model, inputs).view(*kept.shape, -1)
        prefix = choice.reduced(0, tokens, kept)[0][kept].view(len(kept), -1, tokens.shape[-1])
    return partial(prompt_oracle_generate, model, inputs, Gift(rows, choice.policy.positions, (), prefix))
