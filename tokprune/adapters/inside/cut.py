"""Seam "inside": image tokens leave between two layers of a language model, elected by the prompt's own attention.

From there on hidden states, masks, positions and cache are shorter; in front of the last norm the sequence is made
whole again, so that logits, labels and whoever counts positions see nothing of it. Kept tokens keep their positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import current_call, enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.generations import Generations
from tokprune.adapters.guard import Guard
from tokprune.adapters.hooks import Hook
from tokprune.adapters.inside.behind import Behind
from tokprune.adapters.inside.call import Continuation, Prompt
from tokprune.adapters.inside.election import Election
from tokprune.adapters.inside.family import DecoderFamily
from tokprune.adapters.inside.layout import Layout, image_sizes
from tokprune.adapters.inside.refusals import (
    check_answers,
    check_cut,
    check_generation,
    check_images,
    check_later,
    check_model,
    check_prompt,
)
from tokprune.adapters.inside.voting import Voting
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options, encoded_before, named_arguments
from tokprune.adapters.shape import Relied, checkpoints, generates, takes
from tokprune.adapters.upstream import CACHE_NAMES, ENCODED, cache_in
from tokprune.interfaces import Cut, Observed
from tokprune.layers import layer_indices
from tokprune.signal import SignalName

INSIDE_SIGNALS = ("tokens", SignalName("cross_attention", voters="text"), "text")
"""What is observed inside a language model: text tokens vote for image tokens, in the layers in front of the cut."""


class InsideCut(Attached):
    """A cut of the image tokens inside a language model that a `DecoderFamily` describes."""

    def __init__(
        self, model: nn.Module, family: DecoderFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        self.core = module_at(model, family.core)
        self.language_model = module_at(model, family.at())
        self.layers: list[nn.Module] = list(module_at(model, family.at(family.layers)).children())
        check_model(family, self.language_model, self.layers)
        self.place = check_cut(family, cut, len(self.layers), INSIDE_SIGNALS)
        wanted = layer_indices(cut.needs["cross_attention"], self.place) if "cross_attention" in cut.needs else ()
        self.voting = Voting(self, model, family, wanted)
        self.election = Election(family, cut, self.place, wanted)
        norm = module_at(model, family.at(family.norm))
        self.behind = Behind(self, self.layers, self.place, norm, self._shorten)
        self.reader = self.layers[self.place]
        behind = [family.at(family.layers, str(index)) for index in range(self.place, len(self.layers))]
        watched = [family.at(family.norm), *behind, *self.voting.watched]
        self.capture = Capture(self, model, (), watched=watched)
        self.guard = Guard(model, self, self._check)
        self.generations = Generations()
        self._attach(self.core)

    @property
    def shortened(self) -> slice:
        """The layers of the cache that hold the shorter sequence: those after the pruning point."""
        return slice(self.place, None)

    def _relies(self) -> list[Relied]:
        read = ("attention_mask", "position_ids", CACHE_NAMES)
        return [
            takes(self.core, "forward", "input_ids", "inputs_embeds", *read, self.family.image_argument),
            takes(self.core, "get_image_features"),
            takes(self.core, "get_input_embeddings"),
            takes(self.language_model, "forward", "inputs_embeds", *read),
            *(takes(layer, "forward", "hidden_states", "position_embeddings", *read) for layer in self.layers),
            *checkpoints(self.layers),
            *generates(self.model),
        ]

    def _install(self, undo: list[Any]) -> None:
        self.guard.install(undo)
        Entrance(self, self.core, self._begin).install(undo)
        undo.append(self.language_model.register_forward_pre_hook(Hook(self._on_language_model), with_kwargs=True))
        self.voting.install(undo)
        self.behind.install(undo)
        self._shim(self.core, "get_image_features", self._around_features)

    # -- the outer call -----------------------------------------------------------------------------------------

    def _shows_images(self, arguments: Mapping[str, Any]) -> bool:
        return arguments.get(self.family.image_argument) is not None or encoded_before(arguments) is not None

    def _check(self, arguments: Mapping[str, Any], options: Options | None) -> None:
        if options is None or not self._shows_images(arguments):
            return  # a forward is looked at when the core is called
        check_generation(options)
        prompt = {**arguments, "input_ids": next(filter(_is_ids, map(arguments.get, ("inputs", "input_ids"))), None)}
        if prompt["input_ids"] is not None or prompt.get("inputs_embeds") is not None:
            counts = self._placeholders(prompt).sum(dim=1).tolist()
            check_images(self.family, arguments, counts)
            check_answers(self.family, arguments, counts, options, self.model)

    def _begin(self, core: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = named_arguments(core.forward, args, kwargs)
        cache = cache_in(arguments)
        if not self._shows_images(arguments):
            if cache is not None:
                self._continue(cache)
            return
        self.capture.verify()
        check_prompt(arguments, self.language_model, self.layers)
        placeholders = self._placeholders(arguments)
        real = arguments.get("attention_mask")
        real = torch.ones_like(placeholders) if real is None else real.bool()
        copies = self._copies(len(placeholders))
        call = Prompt(layout=Layout(placeholders[::copies], real[::copies], copies))
        if self.guard.generation is None and call.layout.counts.here:  # else they are compared where tokens are elected
            check_images(self.family, arguments, call.layout.counts.read() or ())
        if encoded_before(arguments) == ENCODED:
            call.sizes, call.encoded = image_sizes(arguments[ENCODED]["image"]), True
        enter_call(self, call)

    def _copies(self, rows: int) -> int:
        """How many of the call's rows are the same prompt: `generate` copies it where it follows several answers."""
        asked = self.guard.generation or {}
        given = (asked.get(name) for name in ("inputs", "input_ids", "inputs_embeds"))
        prompts = next((len(each) for each in given if isinstance(each, Tensor)), 0)
        return rows // prompts if prompts else 1

    def _continue(self, cache: Any) -> None:
        """Begin a call without images, which may go on from a prompt that was cut."""
        if not cache.get_seq_length():
            self.generations.forget(cache)  # it was emptied
        self.generations.refuse_others(cache)
        shorter = self.generations.recall(cache) if self.generations.knows(cache) else None
        check_later(cache, shorter, self.place)
        if shorter is not None:
            enter_call(self, Continuation(shorter=shorter))

    def _placeholders(self, arguments: Mapping[str, Any]) -> Tensor:
        token = self.family.image_token_id
        if arguments.get("input_ids") is not None:
            return arguments["input_ids"] == token  # type: ignore[no-any-return]
        core: Any = self.core
        embeds: Tensor = arguments["inputs_embeds"]
        own = core.get_input_embeddings()(torch.tensor(token, device=embeds.device))
        found: Tensor = (embeds == own).all(dim=-1)
        return found

    def _around_features(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        features, call = original(*args, **kwargs), current_call(self)
        if isinstance(call, Prompt):
            call.sizes = image_sizes(features)
        return features

    # -- the language model -------------------------------------------------------------------------------------

    def _on_language_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = current_call(self)
        if isinstance(call, Prompt) and "text" in self.cut.needs:
            call.embeds = kwargs["inputs_embeds"].detach()

    def _shorten(self, call: Prompt, states: Tensor, kwargs: dict[str, Any]) -> Tensor:
        states, observed = self.election.hold(call, states)
        cache = cache_in(kwargs)
        if call.shorter is not None and cache is not None:
            self.generations.remember(cache, call.shorter)
        self.done(observed)
        return states


def _is_ids(given: Any) -> bool:
    return isinstance(given, Tensor) and given.dim() == 2
