"""Shorten a prompt: choose, reduce, carry every argument that goes with its tokens, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.grouped import by_image, observed_in_groups
from tokprune.adapters.positions import compact, sequence_positions
from tokprune.adapters.prompt.call import PromptCall
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.images import Images, flat, rows_of_images
from tokprune.adapters.prompt.rotary import close_text_gaps, take_channels
from tokprune.adapters.prompt.signal import ImageSignals
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.rows import Rows
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.upstream import NEGATIVE_PROMPT
from tokprune.errors import UnsupportedCallError
from tokprune.functional import kept_index
from tokprune.interfaces import Choice, Cut, Observed
from tokprune.keep import keep_count

_HANDED = ("inputs_embeds", "attention_mask", "input_ids", "position_ids")
"""Arguments of a delegated language model that go with the tokens of its prompt; others may be as long by chance."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The images of a call that have equally many tokens, and what was chosen among those.

    Attributes:
        images: which images.
        choice: what `Cut.choose` returned.
        counts: how many tokens of each image stay.
        tokens: all vectors after the reduction `[image token dim]`; None if it left them as they were.
        sizes: how many tokens each of them stands for `[image token]`, or None if nothing was merged.
    """

    images: Sequence[int]
    choice: Choice
    counts: Sequence[int]
    tokens: Tensor | None = None
    sizes: Tensor | None = None

    def index(self) -> list[Tensor]:
        """For each image the numbers of the tokens that stay, int `[token]`."""
        return [kept_index(row[None], count)[0] for row, count in zip(self.choice.kept, self.counts, strict=True)]


class Shortener:
    """Takes the image tokens that were not kept out of a prompt.

    Args:
        family: the model family.
        cut: what to do.
        signals: what is observed.
        config: configuration of the language model.
    """

    def __init__(self, family: PromptFamily, cut: Cut, signals: ImageSignals, config: Any) -> None:
        self.family, self.cut, self.signals, self.config = family, cut, signals, config
        self.encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
        # Pruned tokens that keep their places leave gaps; hidden ones leave none, so compacting them needs moving.
        self.moves = cut.reduction.removes == (cut.positions == "preserve")

    def shorten(
        self, call: PromptCall, arguments: dict[str, Any], images: Images
    ) -> tuple[dict[str, Any], Sequence[Chosen], Observed]:
        """The arguments without the dropped tokens; and what was done. Where all stay, they come back as they are."""
        if call.placeholders is None or call.mask is None:
            raise UnsupportedCallError("the prompt was not seen in this call; was the model compiled before?")
        self.match(call, images.counts)
        chosen = self._choose(call, arguments, images)
        call.done = True
        call.votes.clear()  # queries and keys of all layers: not needed any more
        before = after = call.placeholders.shape[1]
        numbers: list[int] = by_image(chosen, [each.counts for each in chosen])
        if sum(numbers) < sum(images.counts):
            arguments = images.put(arguments, chosen)
            arguments, after = self._without(call, arguments, images.counts, chosen, numbers)
        choices, sizes = [each.choice for each in chosen], [each.sizes for each in chosen]
        return arguments, chosen, observed_in_groups(chosen, choices, sizes, before, after)

    def match(self, call: PromptCall, tokens: Sequence[int]) -> None:
        """Find the row of each image, whose numbers of tokens are `tokens`; refused if placeholders do not fit."""
        if call.rows_of_images is not None or call.placeholders is None:
            return
        counts: Any = None if call.counts is None else call.counts.read()
        if counts is not None:
            call.rows_of_images = rows_of_images(counts[0], tokens)
        elif self.family.vectors is not None and len(tokens) == len(call.placeholders):
            call.rows_of_images = list(range(len(tokens)))
        else:
            raise UnsupportedCallError(
                f"{len(call.placeholders)} prompts share {len(tokens)} images, and which has how many cannot be read "
                "while a graph is recorded; prune outside of it, or give a BLIP-2 one image for each prompt"
            )

    def _choose(self, call: PromptCall, arguments: dict[str, Any], images: Images) -> list[Chosen]:
        """Choose among the images that have equally many tokens, each kind apart."""
        kinds: list[Any] = images.counts
        if "grid" in self.cut.needs:  # a signal has one grid only
            kinds = list(zip(kinds, self.signals.grids(call, arguments), strict=True))
        found = []
        for kind in sorted(set(kinds)):
            which = [index for index, each in enumerate(kinds) if each == kind]
            signal = self.signals.of(call, arguments, which, images.observed(which), partial(images.read, which))
            choice = self.cut.choose(signal)
            count = choice.kept.shape[1]
            if self.cut.keep is None:
                counts: list[int] = choice.kept.sum(dim=1).tolist()
            else:
                counts = [keep_count(self.cut.keep, count)] * len(which)
            reduced = self.cut.reduction.reads_tokens or choice.assignment is not None
            if min(counts) < count and reduced:
                tokens, sizes = reduce_tokens(self.cut.reduction, images.read(which), choice, signal)
                found.append(Chosen(which, choice, counts, tokens, sizes))
            else:
                found.append(Chosen(which, choice, counts))
        return found

    def _without(
        self,
        call: PromptCall,
        arguments: dict[str, Any],
        tokens: Sequence[int],
        chosen: Sequence[Chosen],
        numbers: Sequence[int],
    ) -> tuple[dict[str, Any], int]:
        """The arguments without the dropped tokens, and how long the prompt is then."""
        places, mask = self._prompt(call)
        kept = [each.choice.kept for each in chosen]
        kept = by_image(chosen, kept) if len(chosen) > 1 else [kept[0].flatten()]
        stays = torch.ones_like(places).masked_scatter(places, flat(kept, places.device))
        changed, call.whole = dict(arguments), arguments
        moved = self._positions(call, arguments, stays)
        if moved is not None:
            changed["position_ids"] = moved
        if not self.cut.reduction.removes:
            call.shown = Rows.hiding(stays)
            self._move_bias(call, stays, None)
            return {**changed, "attention_mask": mask * stays.to(mask.dtype)}, places.shape[1]
        call.rows = call.shown = rows = self._rows(call, stays, tokens, numbers)
        self._move_bias(call, stays, rows)
        if self.cut.attention == "proportional" and any(each.sizes is not None for each in chosen):
            call.sizes = Sizes.among(places, flat(_sizes(chosen), places.device)).taken(rows)
        if call.generating or call.gapped or rows.valid is not None:
            changed["attention_mask"] = mask
        pad = self.config.pad_token_id if isinstance(self.config.pad_token_id, int) else 0
        for name, value in changed.items():
            if not self._goes_along(name) or not isinstance(value, Tensor):
                continue
            if name == "position_ids" and value.dim() == 3:
                changed[name] = take_channels(rows, value)
            elif value.shape[:2] == places.shape:
                changed[name] = rows.take(value, pad if name == "input_ids" else 0)
        return changed, rows.length

    def _goes_along(self, name: str) -> bool:
        if self.family.vectors is not None:
            return name in _HANDED
        return name not in (*self.family.arguments, *NEGATIVE_PROMPT)

    def _prompt(self, call: PromptCall) -> tuple[Tensor, Tensor]:
        if call.placeholders is None or call.mask is None:
            raise UnsupportedCallError("the prompt was not seen in this call; please report this")
        return call.placeholders, call.mask

    def _rows(self, call: PromptCall, stays: Tensor, tokens: Sequence[int], numbers: Sequence[int]) -> Rows:
        """Which positions of each row stay."""
        lengths = [stays.shape[1]] * len(stays)
        for row, total, number in zip(call.rows_of_images or [], tokens, numbers, strict=True):
            lengths[row] -= total - number
        read: Any = None if call.counts is None else call.counts.read()
        if read is not None and len(read) > 1:  # padding in front of a row is put there anew, as much as it then takes
            lengths = [length - padding for length, padding in zip(lengths, read[1], strict=True)]
            stays = stays & (self._prompt(call)[1].cumsum(dim=1) > 0)
        return Rows.of(stays, "right" if self.encoder_decoder else "left", lengths)

    def _positions(self, call: PromptCall, arguments: dict[str, Any], stays: Tensor) -> Tensor | None:
        """Position ids of the unpruned length, where the model's own would not be those that were asked for."""
        preserve, removes = self.cut.positions == "preserve", self.cut.reduction.removes
        given: Tensor | None = arguments.get("position_ids")
        if given is not None and given.dim() == 3:
            return close_text_gaps(given, stays)
        # A model that will ask for grid positions is then given those of the whole prompt.
        rotary = self.family.rotary and arguments.get("mm_token_type_ids") is not None
        if self.encoder_decoder or (given is None and (rotary or (removes and not preserve))):
            return None  # the model's own, of a shorter prompt
        own = given
        if own is None:
            own = sequence_positions(self.config.model_type, self._prompt(call)[1], call.generating)
            own = own + (0 if call.generating else self.family.first_position)
        call.gapped = preserve and removes
        return own if preserve else compact(own, stays)

    def _move_bias(self, call: PromptCall, stays: Tensor, rows: Rows | None) -> None:
        """For an encoder whose bias goes by distance: where the tokens stand that are left."""
        if self.encoder_decoder and self.moves:
            own = torch.arange(stays.shape[1], device=stays.device).expand(stays.shape)
            call.bias_positions = compact(own, stays) if rows is None else rows.take(own, 0)


def _sizes(chosen: Sequence[Chosen]) -> list[Tensor]:
    """How many tokens each token of each image stands for `[token]`; 1 for those that are dropped, or not merged."""
    found = []
    for each in chosen:
        kept = each.choice.kept
        found.append(torch.ones_like(kept, dtype=torch.float32) if each.sizes is None else each.sizes.where(kept, 1.0))
    return by_image(chosen, found)
