"""Shorten a prompt before the model sees it: elect, reduce, gather every argument that goes with its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.grouped import by_image, observed_in_groups
from tokprune.adapters.positions import compact, sequence_positions
from tokprune.adapters.prompt.call import ImageCall
from tokprune.adapters.prompt.elections import Group, elect
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.images import rows_of_images
from tokprune.adapters.prompt.rotary import close_text_gaps, take_channels
from tokprune.adapters.prompt.signal import ImageSignals
from tokprune.adapters.rows import Rows
from tokprune.adapters.upstream import NEGATIVE_PROMPT
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed


class ImagePrompt:
    """Takes the image tokens that were not kept out of a prompt of ids and out of the features that go with it.

    Args:
        base: the part of the model that merges the features into the prompt.
        family: the model family.
        cut: what to do.
        signals: what is observed.
        config: configuration of the language model.
    """

    def __init__(self, base: nn.Module, family: PromptFamily, cut: Cut, signals: ImageSignals, config: Any) -> None:
        self.base, self.family, self.cut, self.signals, self.config = base, family, cut, signals, config

    def shorten(self, call: ImageCall, arguments: dict[str, Any]) -> tuple[dict[str, Any], Observed]:
        """The arguments without the dropped tokens, and what was done. Where all are kept they come back unchanged."""
        images = [] if call.features is None else call.features.images
        read = call.counts.read()
        if read is None:
            raise UnsupportedCallError(
                "which row has how many images cannot be read while a graph is recorded; prune outside of it"
            )
        counts: Any = read
        call.rows_of_images = rows_of_images(counts[0], [len(image) for image in images])
        groups = self._elect(call, arguments, images)
        call.done = True
        call.votes.clear()  # queries and keys of all layers: not needed any more
        kept = by_image(groups, [group.choice.kept for group in groups])
        numbers: list[int] = by_image(groups, [group.counts for group in groups])
        before, after = call.input_ids.shape[1], call.input_ids.shape[1]
        if sum(numbers) < sum(len(image) for image in images):
            arguments, after = self._without(call, arguments, counts, kept, numbers)
            if self.cut.reduction.removes:
                images = by_image(groups, [group.stays() for group in groups])
                call.kept = None if call.features is None else call.features.kept(images, kept, numbers)
        choices, sizes = [group.choice for group in groups], [group.sizes for group in groups]
        return arguments, observed_in_groups(groups, choices, sizes, before, after)

    def _elect(self, call: ImageCall, arguments: dict[str, Any], images: Sequence[Tensor]) -> list[Group]:
        groups = []
        kinds: list[Any] = [len(image) for image in images]
        if "grid" in self.cut.needs:  # a signal has one grid only
            kinds = list(zip(kinds, self.signals.grids(call, arguments), strict=True))
        for kind in sorted(set(kinds)):
            which = [index for index, each in enumerate(kinds) if each == kind]
            tokens = torch.stack([images[index] for index in which])
            groups.append(elect(self.cut, self.signals.of(call, arguments, which, tokens), which, tokens))
        return groups

    def _without(
        self,
        call: ImageCall,
        arguments: dict[str, Any],
        counts: Sequence[Sequence[int]],
        kept: Sequence[Tensor],
        numbers: Sequence[int],
    ) -> tuple[dict[str, Any], int]:
        """The arguments without the dropped tokens, and how long the prompt is then."""
        places, mask, length = call.placeholders, call.mask, call.input_ids.shape[1]
        stays = torch.ones_like(places).masked_scatter(places, torch.cat([row.to(places.device) for row in kept]))
        lengths = [length - count - padding for count, padding in zip(*counts, strict=True)]
        for row, number in zip(call.rows_of_images or [], numbers, strict=True):
            lengths[row] += number
        # Padding in front of a row is put there anew, as much as it then takes.
        rows = Rows.of(stays & (mask.cumsum(dim=1) > 0), "left", lengths)
        changed, call.whole = dict(arguments), arguments
        moved = self._positions(call, arguments, stays)
        if moved is not None:
            changed["position_ids"] = moved
        if not self.cut.reduction.removes:
            call.shown = Rows.hiding(stays)
            return {**changed, "attention_mask": mask * stays.to(mask.dtype)}, length
        call.rows = call.shown = rows
        if call.generating or call.gapped or rows.valid is not None:
            changed["attention_mask"] = mask
        pad = self.config.pad_token_id if isinstance(self.config.pad_token_id, int) else 0
        for name, value in changed.items():
            if name in (*self.family.arguments, *NEGATIVE_PROMPT) or not isinstance(value, Tensor):
                continue
            if name == "position_ids" and value.dim() == 3:
                changed[name] = take_channels(rows, value)
            elif value.shape[:2] == places.shape:
                changed[name] = rows.take(value, pad if name == "input_ids" else 0)
        return changed, rows.length

    def _positions(self, call: ImageCall, arguments: dict[str, Any], stays: Tensor) -> Tensor | None:
        """Position ids of the unpruned length, where the model's own would not be those that were asked for."""
        preserve, removes = self.cut.positions == "preserve", self.cut.reduction.removes
        given: Tensor | None = arguments.get("position_ids")
        if given is not None and given.dim() == 3:
            return close_text_gaps(given, stays)
        if given is None and (self._rotary(arguments) or (removes and not preserve)):
            return None  # the model's own, of a shorter prompt
        own = given
        if own is None:
            own = sequence_positions(self.config.model_type, call.mask, call.generating)
            own = own + (0 if call.generating else self.family.first_position)
        call.gapped = preserve and removes
        return own if preserve else compact(own, stays)

    def _rotary(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the model will ask for grid positions, and so be given those of the whole prompt."""
        return self.family.rotary and arguments.get("mm_token_type_ids") is not None
