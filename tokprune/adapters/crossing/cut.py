"""Seam S3, inside the decoder: its later cross-attention layers get fewer keys and values.

The layers in front have read all tokens, and may vote. What stays is chosen with the prompt; keys and values of the
others are then never made, and never cached. Masks are built at full width at every step, so which columns stay is
remembered with the cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import current_call, enter_call, leave_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.crossing.columns import Columns
from tokprune.adapters.crossing.encodings import Encoded, encoder_sources, note_images, signal_of
from tokprune.adapters.crossing.family import CrossFamily, cached_layers
from tokprune.adapters.crossing.refusals import Refusals
from tokprune.adapters.crossing.textvotes import Readers
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.generations import Generations, filled
from tokprune.adapters.guard import Guard
from tokprune.adapters.hooks import Hook
from tokprune.adapters.masktap import MaskTap
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options, named_arguments
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.refusals import refuse_cache
from tokprune.adapters.rows import Rows
from tokprune.adapters.shape import Relied, checkpoints, generates, takes
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.tap import Seen, Tap, reaches
from tokprune.adapters.upstream import CACHE_NAMES, cache_in, cache_of
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed
from tokprune.keep import keep_count
from tokprune.layers import LayerVotes, layer_indices
from tokprune.signal import Signal


@dataclass(kw_only=True)
class Reading(Encoded):
    """One run through the decoder."""

    readers: Readers | None = None
    columns: Columns | None = None


class CrossCut(Attached):
    """A cut of the keys and values behind `place` of the cross-attention layers of a `CrossFamily`."""

    def __init__(
        self,
        model: nn.Module,
        family: CrossFamily,
        cut: Cut,
        done: Callable[[Observed], Any],
        owner: object,
        place: int,
    ) -> None:
        if cut.settled:  # what votes may not have run, where a step comes without a cache
            wanted = getattr(cut.reduction, "wants", ())
            cut = replace(cut, needs={name: layers for name, layers in cut.needs.items() if name in wanted})
        super().__init__(model, cut, done, owner)
        self.family, self.place = family, place
        self.behind = family.crossings[place:]
        self.encoder, self.decoder = module_at(model, family.encoder), module_at(model, family.decoder)
        self.modules = [module_at(model, crossing.module) for crossing in self.behind]
        self.names = [list(inspect.signature(module.forward).parameters) for module in self.modules]
        self.reader = self.modules[0]
        sources = encoder_sources(family, cut)
        if "cross_attention" in cut.needs:
            chosen = layer_indices(cut.needs["cross_attention"], place)
            sources += [family.crossings[index].source for index in chosen]
        paths = (family.encoder, family.decoder, *(crossing.module for crossing in self.behind))
        self.capture = Capture(self, model, sources, watched=paths)
        self.generations = Generations()
        self._attach(self.encoder, self.decoder)

    @property
    def shortened(self) -> list[int] | None:
        """The layers of the cache that hold the shorter sequence; None where there are none."""
        return cached_layers(self.family, self.modules)

    def _relies(self) -> list[Relied]:
        family, first = self.family, self.family.crossings[0]
        others = filter(None, (family.gate, family.images, first.states if family.once else None))
        return [
            takes(self.encoder, "forward", *filter(None, [family.tiles])),
            takes(self.decoder, "forward", "input_ids", "inputs_embeds", "attention_mask", CACHE_NAMES, *others),
            *(
                takes(module, "forward", "hidden_states", crossing.states, crossing.mask)
                for module, crossing in zip(self.modules, self.behind, strict=True)
            ),
            *checkpoints(self.decoder.modules()),
            *generates(self.model),
        ]

    def _install(self, undo: list[Any]) -> None:
        refusals = Refusals(self.family, self.cut, self.decoder, self.modules)
        self.guard = Guard(self.model, self, refusals)
        self.guard.install(undo)
        Entrance(self, self.encoder, self._begin, opens=False).install(undo)
        Entrance(self, self.decoder, self._on_decoder, self._end, opens=False).install(undo)
        self.capture.install(undo)
        for index, module in enumerate(self.modules):
            undo.append(module.register_forward_pre_hook(Hook(self._on_crossing, index), with_kwargs=True))
            crossing = self.behind[index]  # its tap comes after the hook that shortens what it reads
            tapped: Any = Tap(module, weigh=self._weigh)
            if not reaches(module):
                tapped = MaskTap(module, crossing.mask, weigh=self._weigh, keys=crossing.states)
            undo.append(tapped)
            tapped.install()

    def _weigh(self, seen: Seen) -> Tensor | None:
        """What is added to the logits of each token that stays."""
        call = current_call(self)
        sizes = None if call is None or call.columns is None else call.columns.sizes
        return None if sizes is None else sizes.logs(seen)

    def _begin(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = current_call(self)
        part_of_decoder = self.family.encoder.startswith(f"{self.family.decoder}.")
        if call is None or not part_of_decoder:
            call = Reading()
            enter_call(self, call)
        note_images(call, self.family, encoder, args, kwargs)

    def _on_decoder(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = named_arguments(decoder.forward, args, kwargs)
        call = current_call(self)
        if call is None or call.readers is not None:  # else the encoder's call, which came before
            call = Reading()
            enter_call(self, call)
        cache = cache_in(arguments)
        refuse_cache(cache)  # one that `generate` made of its own accord
        if filled(cache):
            call.columns = self.generations.recall(cache)
            call.done = call.columns is not None
            if call.done and self.family.once and arguments.get(self.family.crossings[0].states) is not None:
                raise UnsupportedCallError(
                    "new images came in the middle of a generation whose first ones were pruned; begin again with the "
                    "whole prompt"
                )
        call.readers = Readers()
        if not call.done:
            self.capture.verify()
            call.readers = self._readers(arguments)

    def _readers(self, arguments: Mapping[str, Any]) -> Readers:
        """Who reads, as far as the decoder's arguments say."""
        mask, given = arguments.get("attention_mask"), arguments.get("input_ids")
        given = arguments.get("inputs_embeds") if given is None else given
        if "cross_attention" in self.cut.needs and mask is not None and mask.dim() != 2:
            raise UnsupportedCallError(
                f"the mask of the text has {mask.dim()} dimensions, so which tokens are padding, and have no vote, is "
                "not known; give one of two dimensions [row text], or none"
            )
        real = mask.bool() if mask is not None and given is not None and mask.dim() == 2 else None
        gate = arguments.get(self.family.gate) if self.family.gate is not None else None
        shown = arguments.get(self.family.images) if self.family.images is not None else None
        return Readers(
            images=0 if shown is None else shown.shape[-1],
            real=None if real is None or given is None else real[:, -given.shape[1] :],
            sees=None if gate is None else gate.flatten(1).bool(),
        )

    def _end(self, call: Reading, output: Any) -> None:
        leave_call(self)
        cache = cache_of(output)
        if cache is not None:
            self.generations.remember(cache, call.columns)

    def _on_crossing(
        self, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        call, crossing = current_call(self), self.behind[index]
        if call is None:
            return None
        given = {**dict(zip(self.names[index], args, strict=False)), **kwargs}
        states, mask = given.get(crossing.states), given.get(crossing.mask)
        text: Tensor = given["hidden_states"]
        if call.columns is None:
            if states is None:
                return None  # no image
            self._choose(call, states, mask, len(text))
        if call.columns.whole:
            return None
        if states is not None:
            given[crossing.states] = call.columns.states
        given[crossing.mask] = call.columns.masked(mask, text.shape[1])
        return (), given

    def _choose(self, call: Reading, states: Tensor, mask: Tensor | None, rows: int) -> None:
        """Choose once for the whole generation, from all tokens `states` that the decoder may read."""
        protected, readers = self.family.protected, call.readers or Readers()
        images = readers.images or len(states) // rows
        hidden = states.reshape(rows * images, -1, states.shape[-1])
        signal = self._signal(call, hidden[:, protected:], replace(readers, images=images, mask=mask))
        choice = self.cut.choose(signal)
        kept = choice.kept
        call.done = True
        call.votes.clear()  # queries and keys of the layers: not needed any more
        stays = torch.nn.functional.pad(kept.to(states.device), (protected, 0), value=True).view(rows, -1)
        lengths, sizes = None, None
        if self.cut.keep is not None:
            lengths = [images * (protected + keep_count(self.cut.keep, kept.shape[1]))] * rows
        whole = hidden.reshape(rows, -1, states.shape[-1])
        if not self.cut.reduction.removes:
            everything = Rows.of(torch.ones_like(stays), "right", [stays.shape[1]] * rows)
            dropped = None if self.cut.keep is not None and lengths == [stays.shape[1]] * rows else ~stays
            call.columns = Columns(everything, whole, dropped)
        else:
            kept_rows = Rows.of(stays, "right", lengths)
            call.columns = Columns(kept_rows, whole)
            if not call.columns.whole:
                tokens, sizes = reduce_tokens(self.cut.reduction, hidden[:, protected:], choice, signal)
                full = torch.cat([hidden[:, :protected], tokens], dim=1).reshape(whole.shape)
                call.columns = Columns(kept_rows, kept_rows.take(full, 0.0))
                if sizes is not None and self.cut.attention == "proportional":
                    each = torch.nn.functional.pad(sizes.to(full.device).float(), (protected, 0), value=1.0)
                    call.columns = replace(call.columns, sizes=Sizes(each.view(stays.shape)).taken(kept_rows))
        copies = self._copies(rows)
        self.done(
            Observed(kept, stays.shape[1], call.columns.rows.length, sizes, (choice,), copies=copies, images=images)
        )

    def _copies(self, rows: int) -> int:
        """How many of the rows are copies of one prompt: `generate` makes them where it follows several answers."""
        if self.guard.generation is None:
            return 1
        options = Options(self.guard.generation, self.model)
        copies = max(options.get("num_beams") or 1, options.get("num_return_sequences") or 1)
        return copies if rows % copies == 0 else 1

    def _signal(self, call: Reading, tokens: Tensor, readers: Readers) -> Signal:
        observed: dict[str, Any] = {}
        if "cross_attention" in self.cut.needs:
            name, layers = "cross_attention", range(self.place)
            seen = self.capture.layer_votes(call, name, layers)
            chosen = layer_indices(self.cut.needs[name], self.place)
            protected = self.family.protected
            found = {index: readers.votes(call.votes[name][index], protected) for index in chosen}
            observed[name] = LayerVotes(found, len(seen), name)
        return signal_of(self.family, self.cut, self.capture, call, tokens, **observed)
