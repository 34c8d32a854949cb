"""Calls that go on with the cache of a shortened prompt: what they say of the whole prompt is made to fit the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.embedmerge.call import ImageCall
from tokprune.adapters.generations import Generations
from tokprune.adapters.rows import Rows
from tokprune.adapters.upstream import CACHE_IN_WORDS, NEGATIVE_PROMPT, cache_in, cache_of
from tokprune.errors import UnsupportedCallError


@dataclass(frozen=True, eq=False)
class Shortened:
    """A prompt whose tokens a cache holds.

    Attributes:
        rows: which positions of it stayed.
        input_ids: the prompt as it came `[row sequence]`.
        gapped: whether tokens kept positions that the model would not count.
    """

    rows: Rows
    input_ids: Tensor
    gapped: bool

    @property
    def dropped(self) -> int:
        """By how much the cache is shorter than the prompt."""
        return self.rows.before - self.rows.length

    def without(self, values: Tensor) -> Tensor:
        """`values` `[row sequence]` of the whole prompt and what came after it, without the dropped tokens."""
        return torch.cat([self.rows.take(values[:, : self.rows.before], 0), values[:, self.rows.before :]], dim=1)


class Continuations:
    """Knows the caches that calls with images left behind."""

    def __init__(self) -> None:
        self._known = Generations()

    def note(self, call: ImageCall, output: Any) -> None:
        """Remember the cache in what a call gave, if its prompt was shortened."""
        cache = cache_of(output)
        if cache is not None and call.rows is not None:
            self._known.remember(cache, Shortened(call.rows, call.input_ids, call.gapped))

    def prompt_of(self, arguments: Mapping[str, Any]) -> Shortened | None:
        """The shortened prompt that a call goes on with; None if it goes on with none.

        Raises:
            UnsupportedCallError: it goes on from positions that the model would not find.
        """
        cache = cache_in(arguments)
        if not self._known.knows(cache):
            return None
        prompt: Shortened = self._known.recall(cache)
        if prompt.gapped and arguments.get("position_ids") is None:
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} holds a prompt whose tokens kept their positions, and the model would count on "
                "from their number; pass position_ids, or use positions='compact'"
            )
        return prompt


def masked_anew(prompt: Shortened, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a forward whose mask, if it covers the whole prompt, covers what the cache holds instead.

    Raises:
        UnsupportedCallError: it covers something else.
    """
    mask = arguments.get("attention_mask")
    given = arguments.get("input_ids")
    given = arguments.get("inputs_embeds") if given is None else given
    if not isinstance(mask, Tensor) or mask.dim() != 2 or given is None:
        return arguments
    total = cache_in(arguments).get_seq_length() + given.shape[1]
    if mask.shape[1] == total:
        return arguments
    if mask.shape[1] != total + prompt.dropped:
        raise UnsupportedCallError(
            f"{CACHE_IN_WORDS} holds a prompt from which {prompt.dropped} tokens were dropped: expected "
            f"attention_mask [row {total}], or [row {total + prompt.dropped}] as for the whole prompt, got "
            f"{tuple(mask.shape)}"
        )
    return {**arguments, "attention_mask": prompt.without(mask)}


def whole_prompt_shortened(prompt: Shortened, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a `generate` that, as it has to, repeats the whole prompt in front of what is new; now shortened.

    Raises:
        UnsupportedCallError: it does not begin with the prompt that the cache holds.
    """
    ids: Tensor | None = arguments.get("input_ids")
    known = prompt.input_ids
    if ids is None or ids.shape[0] != known.shape[0] or not torch.equal(ids[:, : known.shape[1]], known.to(ids.device)):
        raise UnsupportedCallError(
            f"{CACHE_IN_WORDS} holds a prompt from which image tokens were dropped, and these input_ids do not begin "
            "with it; pass the whole prompt with all that came after it, or begin again without the cache"
        )
    changed = dict(arguments)
    for name, value in arguments.items():
        if name not in NEGATIVE_PROMPT and isinstance(value, Tensor) and value.shape[:2] == ids.shape:
            changed[name] = prompt.without(value)
    return changed
