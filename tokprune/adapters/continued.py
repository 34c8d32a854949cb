"""Calls that go on with the cache of a shortened prompt: what they say of the whole prompt is made to fit the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.callbacks import WholePrompt, refuse_custom, shown
from tokprune.adapters.generations import Generations, filled
from tokprune.adapters.outercall import put_prompt_back
from tokprune.adapters.rows import Rows
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.upstream import CACHE_IN_WORDS, NEGATIVE_PROMPT, cache_in, cache_of, rows_in, shift_length_limits
from tokprune.errors import UnsupportedCallError


@dataclass(frozen=True, eq=False)
class Shortened:
    """A prompt whose tokens a cache holds.

    Attributes:
        rows: which positions of it stayed.
        input_ids: the prompt as it came `[row sequence]`.
        gapped: whether tokens kept positions that the model would not count.
        sizes: how many tokens each of its columns stands for, where that counts in attention; else None.
    """

    rows: Rows
    input_ids: Tensor
    gapped: bool
    sizes: Sizes | None = None

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return self.rows.batch

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Shortened:
        """The same of other rows, which `pick` takes from each tensor `[row ...]`."""
        sizes = None if self.sizes is None else self.sizes.picked(pick)
        return Shortened(self.rows.picked(pick), pick(self.input_ids), self.gapped, sizes)

    def with_new(self, length: int) -> Rows:
        """Which positions stay of the prompt and what came after it, `length` tokens in all."""
        new = torch.arange(self.rows.before, length, device=self.rows.index.device).expand(self.batch, -1)
        valid = self.rows.valid
        if valid is not None:
            valid = torch.cat([valid, torch.ones_like(new, dtype=torch.bool)], dim=1)
        return Rows(torch.cat([self.rows.index, new], dim=1), valid, length)

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

    def note(self, call: Any, output: Any, arguments: Mapping[str, Any] | None = None) -> None:
        """Remember the cache in what a call gave, or was given, if its prompt was shortened."""
        cache = cache_of(output)
        cache = cache_in(arguments) if cache is None and arguments is not None else cache
        if cache is None:
            return
        if call.rows is None:
            self._known.forget(cache)
            return
        ids = call.placeholders.long() if call.input_ids is None else call.input_ids
        prompt = Shortened(call.rows, ids, call.gapped, call.sizes)
        copies = (rows_in(cache) or prompt.batch) // prompt.batch  # beams and samples
        self._known.remember(cache, prompt.picked(lambda rows: rows.repeat_interleave(copies, dim=0)))

    def sizes_in(self, cache: Any) -> Sizes | None:
        """How many tokens each column of the prompt in `cache` stands for; None if each stands for itself."""
        if not filled(cache) or not self._known.knows(cache):
            return None
        prompt: Shortened = self._known.recall(cache)
        return prompt.sizes

    def prompt_of(self, arguments: Mapping[str, Any]) -> Shortened | None:
        """The shortened prompt that a call goes on with; None if it goes on with none.

        Raises:
            UnsupportedCallError: it goes on from positions that the model would not find.
        """
        cache = cache_in(arguments)
        if not filled(cache):
            return None
        self._known.refuse_others(cache)
        if not self._known.knows(cache):
            return None
        prompt: Shortened = self._known.recall(cache)
        if cache.get_seq_length() < prompt.rows.length:
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} holds {cache.get_seq_length()} tokens, fewer than the {prompt.rows.length} that its "
                "prompt had after pruning: it was cropped into the prompt; begin again with the prompt"
            )
        if prompt.gapped and arguments.get("position_ids") is None:
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} holds a prompt whose tokens kept their positions, and the model would count on "
                "from their number; pass position_ids, or use positions='compact'"
            )
        return prompt


def go_on(model: Any, original: Callable[..., Any], arguments: dict[str, Any], prompt: Shortened) -> Any:
    """What `original`, the `generate` of `model`, gives if it goes on from a prompt that was shortened."""
    shorter = whole_prompt_shortened(prompt, arguments)
    return generate_shorter(
        model, original, shorter, WholePrompt(arguments["input_ids"], shorter["input_ids"].shape[1])
    )


def generate_shorter(model: Any, original: Callable[..., Any], arguments: dict[str, Any], prompt: WholePrompt) -> Any:
    """Generate from a shorter prompt, of which neither the user nor code of the user sees anything."""
    refuse_custom(arguments)
    arguments = shift_length_limits(arguments, getattr(model, "generation_config", None), prompt.dropped)
    return put_prompt_back(original(**shown(original, (), arguments, prompt)[1]), prompt)


def refuse_lost(arguments: Mapping[str, Any], placeholder: int) -> None:
    """Raise `UnsupportedCallError` for a `generate` that would read placeholders of images as if they were text."""
    cache, ids = cache_in(arguments), arguments.get("input_ids")
    if ids is None or not filled(cache):
        return
    if bool((ids[:, cache.get_seq_length() :] == placeholder).any()):
        raise UnsupportedCallError(
            f"{CACHE_IN_WORDS} holds {cache.get_seq_length()} tokens and does not reach to the end of the images in "
            "input_ids, which came without the images: it is the cache of a pruned prompt that is not known any more; "
            "begin again with the prompt"
        )


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
    if ids is not None and len(ids) and prompt.batch > len(ids):  # a cache that was made ready for beams or samples
        copies = prompt.batch // len(ids)
        prompt = prompt.picked(lambda rows: rows[::copies])
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
