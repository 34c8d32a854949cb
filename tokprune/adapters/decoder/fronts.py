"""Where a prompt comes from that a language model reads: which of its tokens are image tokens, and of which images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.attention import crosses
from tokprune.adapters.calls import Observation, current_call, during_call, enter_call
from tokprune.adapters.decoder.layout import image_sizes
from tokprune.adapters.decoder.shorter import Shorter
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.hooks import Hook, MethodShim, parts_on
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import encoded_before, named_arguments, refuse_precomputed
from tokprune.adapters.rows import Rows
from tokprune.adapters.shape import Relied, takes
from tokprune.adapters.tap import Seen, Tap, reaches
from tokprune.adapters.upstream import CACHE_NAMES, ENCODED, READ_BY_DECODER


@dataclass(kw_only=True)
class Announced(Observation):
    """A call that brings a prompt, before the language model reads it."""

    mask: Any = None
    """The attention mask that the user gave."""
    placeholders: Tensor | None = None
    """bool `[row sequence]`; None where no image came, or the model builds the prompt itself."""
    images: Sequence[int] | None = None
    """How many tokens each image has; None before they were encoded."""
    rows: int = 0
    """How many prompts there are; 0 where no image came."""
    encoded: bool = False
    """Whether the images were encoded before copies were made of the prompts."""
    once: bool = False
    """Whether `images` are those of each prompt once, not of its copies too."""
    shortened: bool = False
    """Whether another policy has shortened the prompt in front of the language model."""
    videos: bool = False
    """Videos are being encoded, which some models do as if they were images."""
    shorter: Shorter | None = None
    """What an encoder gave its decoder to read; None for all."""

    def through(self, rows: Rows | None, owner: Any, length: int, device: torch.device) -> Tensor:
        """Where image tokens are in what the language model reads, bool `[prompt sequence]`.

        Args:
            rows: what another policy let through of the finished prompt; None for all.
            owner: the attachment.
            length: how long the sequence is.
            device: where it is.
        """
        if rows is None:
            return self.places(self.rows, length, device)
        whole = self.places(self.rows, rows.before, device)
        stays = torch.zeros_like(whole).scatter(1, rows.index.to(device), True)
        if rows.valid is not None:
            stays = torch.zeros_like(whole).scatter(1, rows.index.to(device), rows.valid.to(device))
        size = owner.family.tokens_per_image
        self.images = [
            int(each.sum()) for row, own in zip(stays, whole, strict=True) for each in row[own].split(size) if len(each)
        ]
        return rows.take(whole, False)

    def places(self, rows: int, length: int, device: torch.device) -> Tensor:
        """Where the image tokens of the sequence are that the language model reads, bool `[row sequence]`."""
        found = self.placeholders
        if found is None:  # the model builds the prompt: the image tokens, then the beginning of text
            found = (torch.arange(length, device=device) < length - 1).expand(self.rows, length)
        found = torch.nn.functional.pad(found.to(device), (0, length - found.shape[1]))
        return found.repeat_interleave(rows // len(found), dim=0)


def left_in_front(owner: Any) -> list[int] | None:
    """How many tokens each image has left after another policy pruned in front of the language model, or None."""
    return next(filter(None, (each.tokens_left() for each in _in_front(owner))), None)


def prunes_in_front(owner: Any) -> bool:
    """Whether another policy prunes in front of the language model."""
    return any(True for _ in _in_front(owner))


def rows_in_front(owner: Any) -> Rows | None:
    """What another policy let through of a finished prompt, or None."""
    return next((rows for each in _in_front(owner) if (rows := each.rows_left()) is not None), None)


def _in_front(owner: Any) -> Iterator[Any]:
    """The policies that prune in front of the language model: each stands in for methods of the model."""
    found = dict.fromkeys(part.attachment for part in parts_on(owner.model))
    return (each for each in found if hasattr(each, "tokens_left"))


class MergedFront:
    """A model whose core puts features in the place of placeholders.

    Args:
        owner: the attachment.
        check: called with the arguments of each call of the core that brings images, before it runs.
    """

    def __init__(self, owner: Any, check: Callable[[Mapping[str, Any], Announced], None]) -> None:
        self.owner, self.check = owner, check
        self.core: Any = module_at(owner.model, owner.family.base)

    @property
    def doors(self) -> tuple[nn.Module, ...]:
        """Modules whose call may be a call of its own."""
        return (self.core,)

    def relies(self) -> list[Relied]:
        """What is read of the model, by name."""
        read = ("attention_mask", "position_ids", CACHE_NAMES)
        return [
            takes(self.core, "forward", "input_ids", "inputs_embeds", *read, self.owner.family.arguments[0]),
            takes(self.core, "get_image_features"),
            takes(self.core, "get_input_embeddings"),
        ]

    def install(self, undo: list[Any]) -> None:
        """Put hooks and shims on the model, and append what takes them off to `undo`."""
        Entrance(self.owner, self.core, self._begin, calls=self).install(undo)
        for name, around in (
            ("get_image_features", self._around_features),
            ("get_video_features", self._around_videos),
        ):
            if hasattr(self.core, name):
                MethodShim(self.core, name, around).install(undo)

    def shows_images(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a call of the model brings images."""
        return arguments.get(self.owner.family.arguments[0]) is not None or encoded_before(arguments) is not None

    def placeholders(self, arguments: Mapping[str, Any]) -> Tensor:
        """Where the image tokens go, bool `[row sequence]`."""
        token = self.owner.family.image_token_id
        if arguments.get("input_ids") is not None:
            return arguments["input_ids"] == token  # type: ignore[no-any-return]
        embeds: Tensor = arguments["inputs_embeds"]
        own = self.core.get_input_embeddings()(torch.tensor(token, device=embeds.device))
        found: Tensor = (embeds == own).all(dim=-1)
        return found

    def _begin(self, core: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = named_arguments(core.forward, args, kwargs)
        call = Announced(mask=arguments.get("attention_mask"))
        if self.shows_images(arguments):
            call.placeholders = self.placeholders(arguments)
            asked = self.owner.guard.generation or {}
            given = (asked.get(name) for name in ("inputs", "input_ids", "inputs_embeds"))
            call.rows = next((len(each) for each in given if isinstance(each, Tensor)), len(call.placeholders))
            shorter = left_in_front(self.owner)
            if shorter is not None:
                call.images, call.once, call.shortened = shorter, True, True
            elif encoded_before(arguments) == ENCODED:
                call.images, call.encoded = self._sizes(arguments[ENCODED]["image"]), True
            self.check(arguments, call)
        enter_call(self, call)

    def _sizes(self, features: Any) -> list[int]:
        return image_sizes(features, self.owner.family.tokens_per_image)

    def _around_features(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        features, call = original(*args, **kwargs), current_call(self)
        if call is not None and not call.videos and not call.shortened:
            call.images = self._sizes(features)
        return features

    def _around_videos(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = current_call(self)
        if call is None:
            return original(*args, **kwargs)
        call.videos = True
        try:
            return original(*args, **kwargs)
        finally:
            call.videos = False


class DelegatingFront:
    """A model that hands its finished prompt to a language model with its own `generate`.

    Args:
        owner: the attachment.
        check: called with the arguments of each call that brings images, before it runs.
    """

    def __init__(self, owner: Any, check: Callable[[Mapping[str, Any], Announced], None]) -> None:
        self.owner, self.check = owner, check
        self.language_model = owner.model.get_submodule(owner.family.language_model)
        self.decoder = self.language_model.get_decoder() if owner.at.encodes else None

    @property
    def doors(self) -> tuple[nn.Module, ...]:
        """Modules whose call may be a call of its own."""
        return ()

    def relies(self) -> list[Relied]:
        """What is read of the model, by name."""
        model: nn.Module = self.owner.model
        return [
            takes(model, "forward", "input_ids", "attention_mask", self.owner.family.arguments[0]),
            takes(model, "get_placeholder_mask", "inputs_embeds"),
            *([takes(self.decoder, "forward", *READ_BY_DECODER)] if self.decoder is not None else []),
        ]

    def install(self, undo: list[Any]) -> None:
        """Put hooks and shims on the model, and append what takes them off to `undo`."""
        model = self.owner.model
        Entrance(self.owner, model, self._begin, calls=self).install(undo)
        if hasattr(model, "generate"):
            MethodShim(model, "generate", self._around_generate).install(undo)
        if self.decoder is not None:
            undo.append(self.decoder.register_forward_pre_hook(Hook(self._on_decoder), with_kwargs=True))
            for name, module in self.decoder.named_modules():
                if crosses(name) and reaches(module):
                    undo.append(tap := Tap(module, weigh=self._weigh))
                    tap.install()

    def shows_images(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a call of the model brings images."""
        return arguments.get(self.owner.family.arguments[0]) is not None

    def placeholders(self, arguments: Mapping[str, Any]) -> Tensor | None:
        """Where the image tokens go, bool `[row sequence]`; None if the model builds the prompt itself."""
        if arguments.get("input_ids") is not None:
            return arguments["input_ids"] == self.owner.family.image_token_id  # type: ignore[no-any-return]
        embeds = arguments.get("inputs_embeds")
        if embeds is None:
            return None
        outer: Any = self.owner.model
        mask: Tensor = outer.get_placeholder_mask(None, inputs_embeds=embeds)
        return mask[..., 0] if mask.dim() == 3 else mask

    def _open(self, arguments: Mapping[str, Any]) -> Announced:
        family = self.owner.family
        refuse_precomputed(arguments, "query tokens", family.arguments[0])
        call = Announced(mask=arguments.get("attention_mask"), encoded=True, once=True)
        if not self.shows_images(arguments):
            return call
        images: Tensor = arguments[family.arguments[0]]
        call.placeholders = self.placeholders(arguments)
        call.rows = len(images) if call.placeholders is None else len(call.placeholders)
        call.images = [family.tokens_per_image] * images.shape[:-3].numel()  # a video's frames count as images
        self.check(arguments, call)
        return call

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        enter_call(self, self._open(named_arguments(model.forward, args, kwargs)))

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with during_call(self, self._open(named_arguments(original, args, kwargs))):
            return original(*args, **kwargs)

    def _weigh(self, seen: Seen) -> Tensor | None:
        """What the decoder's cross-attention adds to the logits of each token of the encoder."""
        call = current_call(self)
        shorter: Shorter | None = None if call is None else call.shorter
        if shorter is None or shorter.sizes is None or seen.key.shape[2] != shorter.rows.length:
            return None
        return shorter.sizes.logs(seen)

    def _on_decoder(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the decoder of an encoder-decoder read the shorter sequence's mask."""
        call = current_call(self)
        if call is None or call.shorter is None:
            return None
        arguments = named_arguments(decoder.forward, args, kwargs)
        states, mask = (arguments.get(name) for name in READ_BY_DECODER)
        shorter = call.shorter
        if states is None or states.shape[1] != shorter.rows.length:
            return None
        if mask is None:
            mask = torch.ones(shorter.batch, shorter.rows.before, dtype=torch.long, device=states.device)
        copies = len(states) // shorter.batch
        mask = shorter.rows.take(mask[:: len(mask) // shorter.batch], 0).repeat_interleave(copies, dim=0)
        return (), {**arguments, READ_BY_DECODER[1]: mask}
