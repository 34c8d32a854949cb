"""Decoder pruning: image tokens leave between two layers of a language model, once or in several steps.

From there on hidden states, masks, positions and cache are shorter; what comes out of the last layer is made whole
again, so that logits, labels and code that counts positions see nothing of it. Kept tokens keep their positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import current_call, enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.decoder.choosing import choose_among, observed
from tokprune.adapters.decoder.family import Reader
from tokprune.adapters.decoder.fronts import (
    Announced,
    DelegatingFront,
    MergedFront,
    left_in_front,
    prunes_in_front,
    rows_in_front,
)
from tokprune.adapters.decoder.layout import Layout
from tokprune.adapters.decoder.refusals import (
    check_answers,
    check_copies,
    check_cut,
    check_generation,
    check_images,
    check_later,
    check_prompt,
    check_steps,
)
from tokprune.adapters.decoder.shorter import Later, Shorter
from tokprune.adapters.decoder.state import Continuation, Left, Prompt, Remembered, Step
from tokprune.adapters.decoder.votes import Looks
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.firstlayer import READER_SIGNALS, FirstLayer
from tokprune.adapters.generations import Generations
from tokprune.adapters.guard import Guard
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options, named_arguments
from tokprune.adapters.output.encoder import last_hidden, with_last_hidden
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.shape import Name, Relied, checkpoints, generates, takes
from tokprune.adapters.stages import Stage, Weighing, enter_stage, leave_stage, stage_of
from tokprune.adapters.tap import Seen, Tap
from tokprune.adapters.upstream import (
    CACHE_NAMES,
    DEEPSTACK,
    LAYER_BIAS,
    LAYER_MASK,
    LAYER_POSITIONS,
    LAYER_STATES,
    cache_in,
    cached_keys,
    mask_form,
)
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed
from tokprune.layers import layer_indices
from tokprune.signal import SignalName

INSIDE_SIGNALS = ("tokens", SignalName("cross_attention", voters="text"), "text", "hidden_states")
"""What is observed inside a language model: text tokens vote for image tokens, in the layers in front of the cut. What
the first layer makes of the image tokens comes on top where its projections are known: `inside_signals`."""


def inside_signals(model: nn.Module, family: PromptFamily) -> tuple[str, ...]:
    """What is observed inside the language model of `model`."""
    return (*INSIDE_SIGNALS, *(READER_SIGNALS if FirstLayer.of(model, family) is not None else ()))


class DecoderCut(Attached):
    """Pruning of image tokens inside a language model that a `PromptFamily` describes.

    Several may sit on one language model, each with pruning points of its own. Each layer is seen to by the one with
    the latest pruning point in front of it.
    """

    stages: ClassVar[bool] = True

    def __init__(
        self, model: nn.Module, family: PromptFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family, self.at = family, Reader.of(model, family)
        self.places = check_cut(family, cut, len(self.at.layers), inside_signals(model, family))
        self.wanted = {
            place: [begin + index for index in layer_indices(cut.needs["cross_attention"], place - begin)]
            if "cross_attention" in cut.needs
            else []
            for begin, place in pairwise((0, *self.places))
        }
        ahead = any(name in cut.needs for name in READER_SIGNALS)
        self.first_layer = FirstLayer.of(model, family) if ahead else None
        self.reader = self.at.layers[self.places[0]]
        self.names = [list(inspect.signature(layer.forward).parameters) for layer in self.at.layers]
        front = MergedFront if family.vectors is None else DelegatingFront
        self.front = front(self, self._check_prompt)
        watched = [self.at.path, *self.at.names[self.places[0] :]]
        for index in chain.from_iterable(self.wanted.values()):
            watched += [self.at.names[index], self.at.attention[index]]
        self.capture = Capture(self, model, (), watched=watched)
        self.steps = {place: Step(self, place) for place in self.places}
        self.guard = Guard(model, self, self._check)
        self.generations = Generations()
        self._attach(*self.front.doors)

    @property
    def shortened(self) -> slice:
        """The layers of the cache that hold the shorter sequence: those after the first pruning point."""
        return slice(None if self.at.encodes else self.places[0], None)

    def _relies(self) -> list[Relied]:
        caches: list[Name] = [] if self.at.encodes else [CACHE_NAMES]
        about: list[Name] = [*caches, *([LAYER_BIAS] if self.at.encodes else [])]
        about += [LAYER_POSITIONS[1]] if hasattr(self.at.module, "rotary_emb") else []
        return [
            *self.front.relies(),
            takes(self.at.module, "forward", "inputs_embeds", "attention_mask", *caches),
            *(takes(layer, "forward", LAYER_STATES, LAYER_MASK, *about) for layer in self.at.layers),
            *checkpoints(self.at.layers),
            *generates(self.model),
        ]

    def _install(self, undo: list[Any]) -> None:
        self.guard.install(undo)
        self.front.install(undo)
        Entrance(self, self.at.module, self._begin, self._end).install(undo)
        for index in range(self.places[0], len(self.at.layers)):
            hook = Hook(self._on_layer, index)
            undo.append(self.at.layers[index].register_forward_pre_hook(hook, with_kwargs=True))
        for place, layers in self.wanted.items():
            for index in layers:
                tap = Tap(module_at(self.model, self.at.attention[index]), observe=self._look, first=(place, index))
                undo.append(tap)
                tap.install()
        for place, step in self.steps.items():
            later = range(place, len(self.at.layers))
            attentions = [(index, module_at(self.model, self.at.attention[index])) for index in later]
            Weighing(step, self.at.module, attentions).install(undo)
        if hasattr(self.at.module, DEEPSTACK):
            self._shim(self.at.module, DEEPSTACK, self._around_deepstack)

    # -- the outer call -----------------------------------------------------------------------------------------

    def _check(self, arguments: Mapping[str, Any], options: Options | None) -> None:
        if options is None or not self.front.shows_images(arguments):
            return  # a forward is looked at when it is announced
        check_generation(options)
        if self.family.vectors is None and prunes_in_front(self):
            check_steps(options)
        prompt = {**arguments, "input_ids": next(filter(_is_ids, map(arguments.get, ("inputs", "input_ids"))), None)}
        given = prompt["input_ids"] is not None or prompt.get("inputs_embeds") is not None
        if given and self.family.vectors is None and left_in_front(self) is None:
            places: Any = self.front.placeholders(prompt)
            counts = places.sum(dim=1).tolist()
            check_images(self.family, arguments, counts)
            check_answers(self.family, arguments, counts, options, self.model)

    def _check_prompt(self, arguments: Mapping[str, Any], call: Announced) -> None:
        self.capture.verify()
        check_prompt(self.at, self.cut, call.mask, cache_in(arguments))
        places = call.placeholders
        whole = self.guard.generation is None and self.family.vectors is None and not call.shortened
        if whole and places is not None:
            counts = Layout(places, places).counts
            if counts.here:  # else they are compared where tokens are chosen
                check_images(self.family, arguments, counts.read() or ())

    # -- the language model -------------------------------------------------------------------------------------

    def _begin(self, reader: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = named_arguments(reader.forward, args, kwargs)
        cache = None if self.at.encodes else cache_in(arguments)
        call = current_call(self.front)
        self._leave_stages()  # what a call that broke off left there
        mask = arguments.get("attention_mask")
        if not (isinstance(mask, Tensor) and mask.dim() == 2):  # one that the model has already made
            mask = call.mask if call is not None and (mask is not None or self.at.encodes) else None
        if cache is not None and cache.get_seq_length():
            given = (arguments.get(name) for name in ("inputs_embeds", "input_ids"))
            self._continue(cache, mask, next(each.shape[1] for each in given if each is not None))
        elif call is not None and call.rows:
            self._read(call, arguments, cache, mask)
        elif cache is not None:
            self.generations.forget(cache)  # it was emptied

    def _read(self, call: Announced, arguments: Mapping[str, Any], cache: Any, mask: Tensor | None) -> None:
        """Begin to read a prompt with images."""
        check_prompt(self.at, self.cut, mask, cache)
        if call.images is None:
            raise UnsupportedCallError("the images' tokens were not computed in this call; was the model compiled?")
        embeds = arguments["inputs_embeds"]
        rows, length = embeds.shape[:2]
        copies = rows // call.rows
        if self.family.vectors is None:
            places = call.places(rows, length, embeds.device)[::copies]
        else:
            places = call.through(rows_in_front(self), self, length, embeds.device)
        real = torch.ones_like(places) if mask is None else mask[::copies].to(places.device).bool()
        layout = Layout(places, real, copies)
        run = Prompt(layout=layout, whole=Left(torch.ones_like(layout.placeholders), (), [length] * call.rows))
        if any(name in self.cut.needs for name in ("text", *READER_SIGNALS)):
            run.embeds = embeds.detach()[::copies]
        enter_call(self, run)

    def _continue(self, cache: Any, mask: Tensor | None, new: int) -> None:
        """Begin a run of `new` tokens without images, which may go on from a prompt that was shortened."""
        self.generations.refuse_others(cache)
        known = self.generations.recall(cache) if self.generations.knows(cache) else None
        shorter = {} if known is None else known.shorter
        check_later(cache, shorter, self.places)
        if known is not None:
            if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
                mask = None
            real = None if mask is None else mask.bool()
            for place, each in shorter.items():
                total = cache.get_seq_length() + new - each.rows.before + each.rows.length
                enter_stage(self.at.module, Stage(self.steps[place], place, each.sizes, total))
            enter_call(self, Continuation(shorter=shorter, cache=cache, real=real))

    def _leave_stages(self) -> None:
        for step in self.steps.values():
            leave_stage(self.at.module, step)

    def take_off(self) -> None:
        """Take every hook and shim off the model now."""
        super().take_off()
        self._leave_stages()

    def _end(self, call: Any, output: Any) -> Any:
        self._leave_stages()
        if output is None or not isinstance(call, Prompt):
            return None
        place, owner = self._stages(len(self.at.layers) - 1)[-1]
        shorter = call.after(place)
        if owner is not self or shorter is None:
            return None
        if self.at.encodes:
            announced = current_call(self.front)
            if announced is not None:
                announced.shorter = shorter
            return None
        return with_last_hidden(output, shorter.restored(last_hidden(output)))

    def _stages(self, index: int) -> list[tuple[int, DecoderCut]]:
        """All pruning points in front of a layer, of this and of other policies, in order."""
        hooks = self.at.layers[index]._forward_pre_hooks.values()
        cuts = dict.fromkeys(hook.attachment for hook in hooks if isinstance(hook, Hook))
        cuts = {cut: None for cut in cuts if isinstance(cut, DecoderCut) and (cut is self or cut.underway.admits())}
        found = [(place, cut) for cut in cuts for place in cut.places if place <= index]
        return sorted(found, key=lambda each: each[0])

    def _on_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        call = current_call(self)
        if call is None:
            return None
        call.layer = index
        stages = self._stages(index)
        if not stages or stages[-1][1] is not self:
            return None  # another policy sees to this layer
        place, names = stages[-1][0], self.names[index]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        states: Tensor = given[LAYER_STATES]
        changed: dict[str, Any] = {}
        if isinstance(call, Continuation):
            shorter = call.after(place)
            if shorter is None:
                return None
            changed[LAYER_MASK] = shorter.later_mask(given.get(LAYER_MASK), self._later(call, index, stages, states))
        else:
            if index == place:
                earlier, call.cache = stages[-2] if len(stages) > 1 else None, cache_in(given)
                states = changed[LAYER_STATES] = self._shorten(call, place, states, earlier)
            shorter = call.after(place)
            if shorter is not None:
                changed |= self._changed(call, stages, shorter, given, states)
        return _with(args, kwargs, names, changed)

    def _later(self, call: Continuation, index: int, stages: list[tuple[int, DecoderCut]], states: Tensor) -> Later:
        """How a layer sees a run that goes on."""
        kinds, queries = self.at.kinds, states.shape[1]
        # The model makes one mask for all layers of a kind, by what the first of them has in its cache. The first
        # layer of all has put its new tokens there already.
        return Later(
            queries,
            call.cache.get_seq_length(),
            cached_keys(call.cache, index) + queries,
            call.real,
            self.at.windows[index],
            kinds.index(kinds[index]) < stages[0][0],
            mask_form(self.at.module.config, states),
        )

    def _changed(
        self,
        call: Prompt,
        stages: list[tuple[int, DecoderCut]],
        shorter: Shorter,
        given: dict[str, Any],
        states: Tensor,
    ) -> dict[str, Any]:
        """What a layer is given in place of what belongs to the whole sequence."""
        about = {name: value for name, value in given.items() if name != LAYER_STATES}
        key = hash((stages[-1][0], tuple(sorted((name, id(value)) for name, value in about.items()))))
        if key not in call.given:  # layers of a kind are given the same
            form = mask_form(self.at.module.config, states)
            run = current_call(stages[-2][1]) if len(stages) > 1 else None
            earlier = run.after(stages[-2][0]) if isinstance(run, Prompt) else None
            call.given[key] = about, shorter.prompt(given, not self.at.encodes, form, earlier)
        changed: dict[str, Any] = call.given[key][1]
        return changed

    def _shorten(self, call: Prompt, place: int, states: Tensor, earlier: tuple[int, DecoderCut] | None) -> Tensor:
        """Choose at one pruning point, and return the hidden states that go on."""
        before, front = call.whole, stage_of(self.at.module, place - 1)
        if earlier is None and front is not None and front.sizes is not None:
            sizes = front.sizes.sizes  # of each prompt, or of its copies too
            before = replace(before, sizes=sizes[:: len(sizes) // len(before.stays)], weighed=True)
        if earlier is not None:
            run = current_call(earlier[1])
            if isinstance(run, Prompt) and earlier[0] in run.left:
                before = run.left[earlier[0]]
        elif not before.images:
            announced = current_call(self.front)
            images = [] if announced is None or announced.images is None else announced.images
            groups = call.layout.groups(images, copies=None if announced is None or not announced.once else 1)
            if call.layout.copies > 1 and announced is not None and not announced.encoded:
                check_copies(self.model, groups)
            own = [(image, group.places.shape[1]) for group in groups for image in group.images]
            before = replace(before, images=[size for _, size in sorted(own)])
        left, states = choose_among(self, call, place, states, before)
        call.left[place] = left
        if left.shorter is not None and left.shorter is not before.shorter:
            enter_stage(self.at.module, Stage(self.steps[place], place, left.shorter.sizes))
        if place == self.places[-1]:
            call.done = True
            call.looks.clear()  # queries and keys of the layers: not needed any more
            if call.cache is not None:
                kept = {each: found.shorter for each, found in call.left.items() if found.shorter is not None}
                self.generations.remember(call.cache, Remembered(kept) if kept else None)
            self.done(observed(self, call))
        return states

    # -- what is observed ---------------------------------------------------------------------------------------

    def _look(self, place: int, index: int, seen: Seen) -> None:
        call = current_call(self)
        if not isinstance(call, Prompt) or call.done:
            return
        if call.voters is None:
            call.voters = call.layout.voters()
        stages = self._stages(index)
        shorter = None
        if stages:
            run = current_call(stages[-1][1])
            shorter = run.after(stages[-1][0]) if isinstance(run, Prompt) else None
        inverse = None if shorter is None else call.once(shorter.inverse())
        call.looks[index] = Looks.of(seen, call.layout.copies, call.voters, inverse, index)

    def _around_deepstack(self, original: Callable[..., Any], states: Tensor, places: Tensor, features: Tensor) -> Any:
        """Add features of the image encoder, after a layer, to those tokens that are left."""
        call = current_call(self)
        stages = [] if call is None else self._stages(call.layer)
        shorter = call.after(stages[-1][0]) if stages and stages[-1][1] is self else None
        if shorter is None or not isinstance(call, Prompt):
            return original(states, places, features)
        added = torch.zeros(*places.shape, states.shape[-1], dtype=states.dtype, device=states.device)
        added[places.to(states.device)] = features.to(states.device, states.dtype)
        return states + shorter.rows.take(added, 0.0)


def _with(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str], changed: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a layer with some changed, each by position or by name as it came."""
    by_position = tuple(changed.get(name, value) for name, value in zip(names, args, strict=False))
    rest = {name: value for name, value in changed.items() if name not in names[: len(args)]}
    return (*by_position, *args[len(by_position) :]), {**kwargs, **rest}


def _is_ids(given: Any) -> bool:
    return isinstance(given, Tensor) and given.dim() == 2
