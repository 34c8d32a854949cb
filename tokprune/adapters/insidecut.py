"""Seam "inside": image tokens leave between two layers of a language model, elected by the prompt's own attention.

From there on hidden states, masks, positions and cache are shorter; in front of the last norm the sequence is made
whole again, so that logits, labels and whoever counts positions see nothing of it. Kept tokens keep their positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tokprune.adapters.calls import Observation, current_call, enter_call, leave_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.compat import rotated
from tokprune.adapters.decoder import DecoderFamily
from tokprune.adapters.hooks import Hook
from tokprune.adapters.insiderefusals import (
    check_copies,
    check_cut,
    check_generation,
    check_later,
    check_model,
    check_prompt,
)
from tokprune.adapters.layout import Group, Layout, Looks, image_sizes
from tokprune.adapters.modules import MethodShim, module_at
from tokprune.adapters.rows import Rows
from tokprune.adapters.shorter import Shorter
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed
from tokprune.keep import keep_count
from tokprune.layers import LayerVotes, layer_indices
from tokprune.signal import Signal, Text

INSIDE_SIGNALS = ("tokens", "cross_attention", "text")
"""What is observed inside a language model: text tokens vote for image tokens, in the layers in front of the cut."""


@dataclass(kw_only=True)
class Prompt(Observation):
    """One call that reads images: its prompt is cut on its way."""

    layout: Layout
    sizes: list[int] | None = None
    """How many tokens each image has."""
    encoded: bool = False
    """Whether the images were encoded before copies were made of the prompts."""
    embeds: Tensor | None = None
    mask: Tensor | None = None
    """The mask that the layers are given `[row 1 query key]`."""
    turns: Any = None
    """Cosines and sines of the positions."""
    voters: Rows | None = None
    looks: dict[int, Looks] = field(default_factory=dict)
    shorter: Shorter | None = None
    """What goes on; None before the cut, and where everything stays."""
    given: dict[str, Any] = field(default_factory=dict)
    """What the layers behind the cut are given instead."""

    def once(self, values: Tensor) -> Tensor:
        """Of values for each row `[row ...]`, or the same for all, those for each prompt, copies left out."""
        return values[:: self.layout.copies]


@dataclass(kw_only=True)
class Generation(Observation):
    """A call of `generate`, which may make copies of its prompts."""

    prompts: int | None
    """How many there are; None if that is not known."""


@dataclass(kw_only=True)
class Continuation(Observation):
    """One call that goes on from a cache whose prompt was cut."""

    shorter: Shorter


class InsideCut:
    """A cut of the image tokens inside a language model that a `DecoderFamily` describes."""

    def __init__(
        self, model: nn.Module, family: DecoderFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        self.model, self.family, self.cut, self.done, self.owner = model, family, cut, done, owner
        self.core = module_at(model, family.core)
        self.language_model = module_at(model, family.at())
        layers = module_at(model, family.at(family.layers))
        self.layers: list[nn.Module] = list(layers.children())
        check_model(family, self.language_model, self.layers)
        self.place = check_cut(family, cut, len(self.layers), INSIDE_SIGNALS)
        self.wanted = layer_indices(cut.needs["cross_attention"], self.place) if "cross_attention" in cut.needs else ()
        self.norm = module_at(model, family.at(family.norm))
        self.reader = self.layers[self.place]
        watched = [family.at(family.norm)]
        watched += [family.at(family.layers, str(index)) for index in (*self.wanted, *self._behind())]
        watched += [self._projection(index, side) for index in self.wanted for side in (family.query, family.key)]
        self.capture = Capture(self, model, (), watched=watched)
        self._generations: Any = WeakKeyDictionary()
        self._generating = _Key()
        self._undo: list[Any] = []
        try:
            self._install()
        except BaseException:
            self.remove()
            raise

    def _behind(self) -> range:
        return range(self.place, len(self.layers))

    def _projection(self, index: int, side: str) -> str:
        return self.family.at(self.family.layers, str(index), self.family.attention, side)

    def _install(self) -> None:
        undo = self._undo
        undo.append(self.core.register_forward_pre_hook(Hook(self._begin), with_kwargs=True, prepend=True))
        undo.append(self.core.register_forward_hook(Hook(self._end), always_call=True))
        undo.append(self.language_model.register_forward_pre_hook(Hook(self._on_language_model), with_kwargs=True))
        for index in self.wanted:
            undo.append(self.layers[index].register_forward_pre_hook(Hook(self._on_voting_layer), with_kwargs=True))
            for side in (self.family.query, self.family.key):
                module = module_at(self.model, self._projection(index, side))
                undo.append(module.register_forward_hook(Hook(self._on_projection, index, side)))
        for index in self._behind():
            hook = Hook(self._on_layer, index)
            undo.append(self.layers[index].register_forward_pre_hook(hook, with_kwargs=True))
        undo.append(self.norm.register_forward_pre_hook(Hook(self._on_norm)))
        shims = [MethodShim(self.core, "get_image_features", self._around_features)]
        if hasattr(self.model, "generate"):
            shims.append(MethodShim(self.model, "generate", self._around_generate))
        for shim in shims:
            shim.install()
            undo.append(shim)

    def remove(self) -> None:
        """Take every hook and shim off the model; calling it again does nothing."""
        while self._undo:
            self._undo.pop().remove()
        leave_call(self)  # one that an interrupt left behind

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the model goes on from no cache of the original's.
        return {name: value for name, value in self.__dict__.items() if name != "_generations"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _generations=WeakKeyDictionary())

    # -- the outer call -----------------------------------------------------------------------------------------

    def _shows_images(self, arguments: dict[str, Any]) -> bool:
        encoded = arguments.get("mm_encoder_outputs") or {}
        return arguments.get(self.family.image_argument) is not None or encoded.get("image") is not None

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._shows_images(kwargs):
            return original(*args, **kwargs)
        check_generation(kwargs, getattr(self.model, "generation_config", None))
        prompts = (*args, *(kwargs.get(name) for name in ("inputs", "input_ids", "inputs_embeds")))
        rows = next((len(each) for each in prompts if isinstance(each, Tensor)), None)
        enter_call(self._generating, Generation(prompts=rows))
        try:
            return original(*args, **kwargs)
        finally:
            leave_call(self._generating)

    def _begin(self, core: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = {**dict(zip(inspect.signature(core.forward).parameters, args, strict=False)), **kwargs}
        cache = arguments.get("past_key_values")
        if not self._shows_images(arguments):
            if cache is not None:
                self._continue(cache)
            return
        self.capture.verify()
        check_prompt(arguments, self.language_model, self.layers)
        placeholders = self._placeholders(arguments)
        real = arguments.get("attention_mask")
        real = torch.ones_like(placeholders) if real is None else real.bool()
        generation = current_call(self._generating)
        known = isinstance(generation, Generation) and generation.prompts
        copies = len(placeholders) // generation.prompts if known else 1
        call = Prompt(layout=Layout(placeholders[::copies], real[::copies], copies))
        encoded = (arguments.get("mm_encoder_outputs") or {}).get("image")
        if encoded is not None:
            call.sizes, call.encoded = image_sizes(encoded), True
        enter_call(self, call)

    def _continue(self, cache: Any) -> None:
        """Begin a call without images, which may go on from a prompt that was cut."""
        if not cache.get_seq_length():
            self._generations.pop(cache, None)  # it was emptied
        shorter = self._generations.get(cache)
        check_later(cache, shorter, self.place)
        if shorter is not None:
            enter_call(self, Continuation(shorter=shorter))

    def _placeholders(self, arguments: dict[str, Any]) -> Tensor:
        token = self.family.image_token_id
        if arguments.get("input_ids") is not None:
            return arguments["input_ids"] == token  # type: ignore[no-any-return]
        core: Any = self.core
        embeds: Tensor = arguments["inputs_embeds"]
        own = core.get_input_embeddings()(torch.tensor(token, device=embeds.device))
        found: Tensor = (embeds == own).all(dim=-1)
        return found

    def _end(self, core: nn.Module, args: Any, output: Any) -> None:
        leave_call(self)

    def _around_features(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        features, call = original(*args, **kwargs), current_call(self)
        if isinstance(call, Prompt):
            call.sizes = image_sizes(features)
        return features

    # -- in front of the cut ------------------------------------------------------------------------------------

    def _on_language_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = current_call(self)
        if isinstance(call, Prompt) and "text" in self.cut.needs:
            call.embeds = kwargs["inputs_embeds"].detach()

    def _on_voting_layer(self, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = current_call(self)
        if isinstance(call, Prompt) and not call.done:
            call.turns, call.mask = kwargs["position_embeddings"], kwargs.get("attention_mask")

    def _on_projection(self, index: int, side: str, module: nn.Module, args: Any, output: Tensor) -> None:
        call = current_call(self)
        if not isinstance(call, Prompt) or call.done:
            return
        halves = call.halves.setdefault(("cross_attention", index), {})
        halves[side] = output.detach()
        if len(halves) < 2:
            return
        attention: Any = self.layers[index].get_submodule(self.family.attention)
        query, key = (self._heads(attention, halves[name]) for name in (self.family.query, self.family.key))
        del call.halves["cross_attention", index]
        turns = tuple(call.once(each) for each in call.turns)
        query, key = rotated(attention, call.once(query), call.once(key), turns)
        if call.voters is None:
            call.voters = call.layout.voters()
        voters = call.voters.index.to(query.device)[:, None, :, None]
        query = query.gather(2, voters.expand(-1, query.shape[1], -1, query.shape[3]))
        call.looks[index] = Looks(query, key, _allowed(call), call.voters, attention.scaling, index)

    def _heads(self, attention: Any, output: Tensor) -> Tensor:
        """`[row head sequence dim]`, from a projection `[row sequence features]` or a norm of the heads apart."""
        if output.dim() == 3:
            output = output.reshape(*output.shape[:2], -1, attention.head_dim)
        return output.transpose(1, 2)

    # -- the cut, and behind it ---------------------------------------------------------------------------------

    def _on_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        call = current_call(self)
        if call is None:
            return None
        if isinstance(call, Continuation):
            return args, self._continued(call, args, kwargs)
        first = index == self.place
        if first:
            states = args[0] if args else kwargs["hidden_states"]
            shorter = self._shorten(call, states, kwargs)
        if call.shorter is None:
            return None
        if not call.given:
            call.given = _replaced(call.shorter, kwargs)
        kwargs = {**kwargs, **call.given}
        if not first:
            return args, kwargs
        return ((shorter, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": shorter})

    def _continued(self, call: Continuation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        states: Tensor = args[0] if args else kwargs["hidden_states"]
        # The first layer has already put the new tokens into its part of the cache.
        total = kwargs["past_key_values"].get_seq_length()
        return {
            **kwargs,
            "attention_mask": call.shorter.later_mask(kwargs.get("attention_mask"), states.shape[1], total),
        }

    def _on_norm(self, norm: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        call = current_call(self)
        if not isinstance(call, Prompt) or call.shorter is None:
            return None
        return call.shorter.restored(args[0]), *args[1:]

    def _shorten(self, call: Prompt, states: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Choose, and give back the hidden states `[row sequence dim]` that go on."""
        if call.sizes is None:
            raise UnsupportedCallError("the images' tokens were not computed in this call; was the model compiled?")
        groups = call.layout.groups(call.sizes)
        if call.layout.copies > 1 and not call.encoded:
            check_copies(groups)
        signals = [self._signal(call, group, states) for group in groups]
        chosen = [self.cut.choose(signal) for signal in signals]
        call.done = True
        call.looks.clear()  # queries and keys of the layers: not needed any more
        stays = torch.ones_like(call.layout.placeholders)
        for group, kept in zip(groups, chosen, strict=True):
            stays = stays.index_put((group.rows[:, None], group.places), kept.to(stays.device))
        lengths = [each for each in self._lengths(groups, stays) for _ in range(call.layout.copies)]
        stays, before = stays.repeat_interleave(call.layout.copies, dim=0), states.shape[1]
        sizes = None
        if min(lengths) < before:
            if self.cut.reduction.reads_tokens:
                states, sizes = self._reduced(call, states, groups, chosen, signals)
            cache = kwargs.get("past_key_values")
            if self.cut.reduction.removes:
                call.shorter = Shorter.of(stays, lengths)
                states = call.shorter.states(states)
            else:
                call.shorter = Shorter.hiding(stays)
            if cache is not None:
                self._generations[cache] = call.shorter
        self.done(_observed(groups, chosen, sizes, before, states.shape[1]))
        return states

    def _signal(self, call: Prompt, group: Group, states: Tensor) -> Signal:
        found: dict[str, Any] = {}
        if "tokens" in self.cut.needs:
            found["tokens"] = group.of(call.once(states)).detach()
        if "cross_attention" in self.cut.needs:
            missing = sorted(set(self.wanted) - set(call.looks))
            if missing:
                raise UnsupportedCallError(
                    f"layers {missing} of the language model did not run in this call, so the text could not vote; was "
                    "the model compiled before tokprune.apply?"
                )
            votes = {index: looks.votes(group) for index, looks in call.looks.items()}
            found["cross_attention"] = LayerVotes(votes, self.place, "cross_attention")
        if call.embeds is not None:
            mask = call.layout.real & ~call.layout.placeholders
            found["text"] = Text(call.once(call.embeds)[group.rows], mask[group.rows])
        shape = group.places.shape
        source = f"adapter {self.family.name!r} target {self.cut.target!r} inside the language model"
        return Signal(**found, shape=(shape[0], shape[1]), source=source)

    def _lengths(self, groups: Sequence[Group], stays: Tensor) -> list[int]:
        """How many positions of each prompt stay: known beforehand, unless images may keep different numbers."""
        if self.cut.keep is None:
            counted: list[int] = stays.sum(dim=1).tolist()
            return counted
        lengths = [stays.shape[1]] * stays.shape[0]
        for group in groups:
            size = group.places.shape[1]
            for row in group.owners:
                lengths[row] -= size - keep_count(self.cut.keep, size)
        return lengths

    def _reduced(
        self, call: Prompt, states: Tensor, groups: Sequence[Group], chosen: Sequence[Tensor], signals: Sequence[Signal]
    ) -> tuple[Tensor, list[Tensor]]:
        """The hidden states after the reduction, and what each image's tokens stand for."""
        sizes, copies, once = [], call.layout.copies, call.once(states)
        for group, kept, signal in zip(groups, chosen, signals, strict=True):
            extra = signal.pick(getattr(self.cut.reduction, "wants", ()))
            tokens, size = self.cut.reduction(group.of(once), kept.to(states.device), **extra)
            rows, places = group.rows.to(states.device)[:, None], group.places.to(states.device)
            once = once.index_put((rows, places), tokens.to(states.dtype))
            sizes.append(size)
        return once.repeat_interleave(copies, dim=0), sizes


class _Key:
    """Under which calls of `generate` are known."""


def _allowed(call: Prompt) -> Tensor:
    """Who of the voters sees whom, bool `[row 1 voter sequence]`; who only fills up sees nobody."""
    voters = call.voters
    if voters is None:
        raise UnsupportedCallError("nobody was asked to vote; please report this")
    index = voters.index
    if call.mask is None:
        own = torch.arange(voters.before, device=index.device)
        allowed = (own[None, None, :] <= index[:, :, None])[:, None]
    else:
        mask = call.once(call.mask).expand(index.shape[0], -1, -1, -1)
        mask = mask if mask.dtype == torch.bool else mask == 0
        index = index.to(mask.device)[:, None, :, None]
        allowed = mask.gather(2, index.expand(-1, mask.shape[1], -1, mask.shape[3]))
    return allowed if voters.valid is None else allowed & voters.valid.to(allowed.device)[:, None, :, None]


def _replaced(shorter: Shorter, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the layers behind the cut are given instead of what belongs to the whole sequence."""
    turns = tuple(shorter.positions(each) for each in kwargs["position_embeddings"])
    given = {"attention_mask": shorter.prompt_mask(kwargs.get("attention_mask")), "position_embeddings": turns}
    if kwargs.get("position_ids") is not None:
        given["position_ids"] = shorter.positions(kwargs["position_ids"])
    return given


def _observed(
    groups: Sequence[Group], chosen: Sequence[Tensor], sizes: Sequence[Tensor] | None, before: int, after: int
) -> Observed:
    """What was done, told of all images in their order."""
    if len(groups) == 1:
        return Observed(chosen[0], before, after, None if sizes is None else sizes[0])
    images, most = sum(len(group.owners) for group in groups), max(group.places.shape[1] for group in groups)
    kept = torch.zeros(images, most, dtype=torch.bool, device=chosen[0].device)
    weights = None if sizes is None else torch.zeros(images, most, device=sizes[0].device)
    for number, (group, choice) in enumerate(zip(groups, chosen, strict=True)):
        kept[group.images.to(kept.device), : choice.shape[1]] = choice
        if weights is not None and sizes is not None:
            weights[group.images.to(weights.device), : choice.shape[1]] = sizes[number].to(weights.dtype)
    told = tuple((group.images, choice) for group, choice in zip(groups, chosen, strict=True))
    return Observed(kept, before, after, weights, groups=told)
