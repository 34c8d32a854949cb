"""Shorten what a language model is about to read: choose, reduce, gather, place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.calls import Call
from tokprune.adapters.capture import Capture
from tokprune.adapters.positions import compact, sequence_positions
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.placeholders import check_placeholders
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.rows import Rows
from tokprune.errors import UnsupportedCallError
from tokprune.functional import kept_index
from tokprune.interfaces import Choice, Cut, Observed
from tokprune.keep import keep_count
from tokprune.signal import ATTENTION_NAMES, Signal, Text


class PromptShortener:
    """Takes the query tokens that were not kept out of a finished prompt.

    Args:
        family: the model family.
        cut: what to do.
        capture: what was observed on the way here.
        language_model: who reads the prompt.
    """

    def __init__(self, family: PromptFamily, cut: Cut, capture: Capture, language_model: Any) -> None:
        self.family, self.cut, self.capture = family, cut, capture
        self.config = language_model.config
        self.encoder_decoder = bool(self.config.is_encoder_decoder)
        # Pruned tokens that keep their places leave gaps; hidden ones leave none, so compacting them needs moving.
        self.moves = cut.reduction.removes == (cut.positions == "preserve")

    def shorten(self, call: Call, kwargs: dict[str, Any], generating: bool) -> tuple[dict[str, Any], Observed]:
        """The language model's keyword arguments without the dropped tokens, and what was done.

        Where every token is kept the arguments come back as they are.
        """
        embeds: Tensor = kwargs["inputs_embeds"]
        mask = kwargs.get("attention_mask")
        if mask is None:
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        if call.placeholders is None or call.vectors is None:
            raise UnsupportedCallError(
                "the query tokens were not computed in this call; was the model compiled before?"
            )
        counts = self.check(call)
        places = call.placeholders.to(embeds.device)
        signal = self._signal(call, call.vectors, embeds, mask, places)
        choice = self.cut.choose(signal)
        kept = choice.kept
        call.done = True
        call.votes.clear()  # queries and keys of all layers: not needed any more
        length, sizes = embeds.shape[1], None
        stays = torch.ones_like(places).masked_scatter(places, kept.flatten().to(places.device))
        lengths = self._lengths(counts, kept, stays)
        if min(lengths) < length:
            kwargs = dict(kwargs)
            if self.cut.reduction.reads_tokens:
                embeds, sizes = self._reduce(embeds, places, choice, signal)
            rows = Rows.of(stays, "right" if self.encoder_decoder else "left", lengths)
            kwargs.update(self._moved_positions(call, kwargs, mask, stays, rows, generating))
            if self.cut.reduction.removes:
                kwargs.update(self._taken(rows, kwargs, embeds, mask))
                call.rows = call.shown = rows
            else:
                call.shown = Rows.hiding(stays)
                kwargs.update(inputs_embeds=embeds, attention_mask=mask * stays.to(mask.dtype))
        return kwargs, Observed(kept, length, kwargs["inputs_embeds"].shape[1], sizes, (choice,))

    def check(self, call: Call) -> list[int] | None:
        """Placeholders in each row, or None where they cannot be counted yet; refused if they do not fit the images."""
        counts = None if call.counts is None else call.counts.read()
        if counts is not None and call.images is not None:
            check_placeholders(counts, call.images, self.family.tokens_per_image or 1)
        return counts

    def _lengths(self, counts: list[int] | None, kept: Tensor, stays: Tensor) -> list[int]:
        """How many positions of each row stay: known beforehand, unless images may keep different numbers."""
        if self.cut.keep is None:
            counted: list[int] = stays.sum(dim=1).tolist()
            return counted
        (images, tokens), (rows, length) = kept.shape, stays.shape
        dropped = tokens - keep_count(self.cut.keep, tokens)
        if counts is None:
            if images != rows:
                raise UnsupportedCallError(
                    f"{rows} prompts share {images} images, and which has how many cannot be read while a graph is "
                    "recorded; give every prompt one image"
                )
            return [length - dropped] * rows
        return [length - count // tokens * dropped for count in counts]

    def _signal(self, call: Call, vectors: Tensor, embeds: Tensor, mask: Tensor, places: Tensor) -> Signal:
        needs, family = self.cut.needs, self.family
        found: dict[str, Any] = {
            name: self.capture.layer_votes(call, name, range(len(family.sources[name])))
            for name in ATTENTION_NAMES
            if name in needs
        }
        if "tokens" in needs:
            found["tokens"] = vectors
        if "text" in needs:
            # One prompt per image: a row with several images lends its text to each of them.
            images = (places.sum(dim=1) // (family.tokens_per_image or 1)).to(embeds.device)
            owner = torch.arange(places.shape[0], device=embeds.device)
            owner = owner.repeat_interleave(images, output_size=vectors.shape[0])
            found["text"] = Text(embeds.detach()[owner], (mask.bool() & ~places)[owner])
        return Signal(
            **found,
            shape=(vectors.shape[0], vectors.shape[1]),
            source=f"adapter {family.name!r} target {self.cut.target!r}",
        )

    def _reduce(self, embeds: Tensor, places: Tensor, choice: Choice, signal: Signal) -> tuple[Tensor, Tensor | None]:
        flat = kept_index(places.reshape(1, -1), choice.kept.numel())[0]  # without asking the device how many there are
        tokens = embeds.flatten(0, 1)[flat].view(*choice.kept.shape, embeds.shape[-1])
        reduced, sizes = reduce_tokens(self.cut.reduction, tokens, choice, signal)
        return embeds.masked_scatter(places[..., None], reduced), sizes

    def _taken(self, rows: Rows, kwargs: dict[str, Any], embeds: Tensor, mask: Tensor) -> dict[str, Any]:
        taken = {"inputs_embeds": rows.take(embeds, 0.0), "attention_mask": rows.take(mask, 0)}
        if kwargs.get("input_ids") is not None:
            pad = self.config.pad_token_id if isinstance(self.config.pad_token_id, int) else 0
            taken["input_ids"] = rows.take(kwargs["input_ids"], pad)
        if kwargs.get("position_ids") is not None:
            taken["position_ids"] = rows.take(kwargs["position_ids"], 0)
        return taken

    def _moved_positions(
        self, call: Call, kwargs: dict[str, Any], mask: Tensor, stays: Tensor, rows: Rows, generating: bool
    ) -> dict[str, Any]:
        """Position ids (or a relative bias) where the language model's own would not be those that were asked for."""
        preserve = self.cut.positions == "preserve"
        given = kwargs.get("position_ids")
        if self.encoder_decoder:
            if self.moves:
                own = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
                call.bias_positions = rows.take(own, 0) if preserve else compact(own, stays)
            return {}
        if given is None and self.cut.reduction.removes and not preserve:
            return {}
        own = sequence_positions(self.config.model_type, mask, generating) if given is None else given
        call.gapped = preserve
        return {"position_ids": own if preserve else compact(own, stays)}
