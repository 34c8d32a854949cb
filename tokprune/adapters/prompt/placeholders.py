"""Prompt pruning where a model puts the features of its images in place of placeholders in a prompt of ids.

The features are computed once, by the model itself. Then the model is called with fewer placeholders and gets fewer
features for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.answers import Asked
from tokprune.adapters.callbacks import WholePrompt, merging, shown
from tokprune.adapters.calls import current_call, during_call, enclosed, enter_call
from tokprune.adapters.continued import generate_shorter, go_on, masked_anew, refuse_lost
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.hostcopy import HostCopy
from tokprune.adapters.outercall import encoded_before, named_arguments
from tokprune.adapters.prompt.call import PromptCall
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.features import Features
from tokprune.adapters.prompt.pruning import PromptPruning, unpacked
from tokprune.adapters.prompt.rotary import RotaryPositions
from tokprune.adapters.shape import Relied, generates, takes
from tokprune.adapters.upstream import CACHE_NAMES, ENCODED, VIDEOS, inferred_mask, mixes_up_images, since
from tokprune.adapters.weights import weights_at_hand
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed

_POSITIONED = ("input_ids", "attention_mask", "image_grid_thw", "mm_token_type_ids")
"""What a model computes the positions of a prompt from."""


class PlaceholderPruning(PromptPruning):
    """Prompt pruning on a model that merges features into its prompt itself."""

    never = (VIDEOS,)

    def __init__(
        self, model: nn.Module, family: PromptFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, family, cut, done, owner)
        self.reads = self.base
        self._attach(self.base)

    def _config(self) -> Any:
        model: Any = self.model
        return model.config.get_text_config()

    def _relies(self) -> list[Relied]:
        read = ("input_ids", "attention_mask", "position_ids", CACHE_NAMES, self.family.arguments[0])
        return [
            takes(self.model, "forward", *read, "labels", "logits_to_keep", *([ENCODED] if since("5.20") else [])),
            takes(self.model, "get_input_embeddings"),
            takes(self.base, "forward", *read),
            takes(self.base, "get_image_features", self.family.arguments[0]),
            *([takes(self.base, "get_rope_index", *_POSITIONED)] if self.family.rotary else []),
            *generates(self.model),
            *([] if self.weighing is None else self.weighing.relies()),
        ]

    def _install(self, undo: list[Any]) -> None:
        Entrance(self, self.model, self._begin, self._end).install(undo)
        Entrance(self, self.base, self._on_base, opens=False).install(undo)
        self.capture.install(undo)
        if self.weighing is not None:
            self.weighing.install(undo)
        self._shim(self.model, "generate", self._around_generate)
        self._put(merging(self, self.model))
        self._shim(self.base, "get_image_features", self._around_features)
        if hasattr(self.base, "get_video_features"):
            self._shim(self.base, "get_video_features", self._around_videos)
        if self.family.rotary:
            self._shim(self.base, "get_rope_index", RotaryPositions(self))

    # -- the outer call -----------------------------------------------------------------------------------------

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        outer: Any = model
        arguments = named_arguments(outer.forward, args, kwargs)
        if not self._has_images(arguments):
            prompt = self.continued.prompt_of(arguments)
            return None if prompt is None else ((), masked_anew(prompt, arguments))
        call = self._open(arguments, generating=False)
        call.asked, arguments = Asked.of(model, arguments)
        enter_call(self, call)
        return (), self._shorten(call, arguments)

    def _end(self, call: PromptCall, output: Any) -> Any:
        self.continued.note(call, output)
        return super()._end(call, output)

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        arguments = named_arguments(original, args, kwargs)
        if enclosed(self):
            return original(*args, **kwargs)
        if arguments.get("input_ids") is None:
            arguments["input_ids"] = arguments.pop("inputs", None)
        if not self._has_images(arguments):
            return self._go_on(original, args, kwargs, arguments)
        call, ids = self._open(arguments, generating=True), arguments["input_ids"]
        with during_call(self, call):
            with torch.no_grad():
                arguments = self._shorten(call, arguments)
            if call.rows is None:
                output = original(**shown(original, (), arguments)[1])
            else:
                whole = WholePrompt(ids, call.rows.length)
                output = generate_shorter(self.model, original, arguments, whole)
            self.continued.note(call, output, arguments)
            return output

    def _go_on(self, original: Callable[..., Any], args: Any, kwargs: Any, arguments: dict[str, Any]) -> Any:
        """Generate without images: as ever, unless it goes on from a prompt that had some."""
        prompt = self.continued.prompt_of(arguments)
        if prompt is None:
            refuse_lost(arguments, self.family.image_token_id)
            return original(*args, **kwargs)
        return go_on(self.model, original, arguments, prompt)

    def _has_images(self, arguments: Mapping[str, Any]) -> bool:
        return arguments.get(self.family.arguments[0]) is not None or encoded_before(arguments) is not None

    def _open(self, arguments: dict[str, Any], generating: bool) -> PromptCall:
        """What is known of a call that can be pruned."""
        self._check(arguments, generating)
        ids: Tensor = arguments["input_ids"]
        mask = arguments.get("attention_mask")
        if mask is None:
            mask = inferred_mask(self.model, arguments) if generating else torch.ones_like(ids)
        places = ids == self.family.image_token_id
        padding = (mask.cumsum(dim=1) == 0).sum(dim=1)
        return PromptCall(
            generating=generating,
            input_ids=ids,
            mask=mask,
            placeholders=places,
            counts=HostCopy(torch.stack([places.sum(dim=1), padding])),
            encoded=len(arguments[self.family.arguments[0]]),
        )

    def _shorten(self, call: PromptCall, arguments: dict[str, Any]) -> dict[str, Any]:
        """Compute the features of a call, choose among them, and return the arguments of the shorter prompt."""
        given = {name: arguments[name] for name in self.family.arguments if arguments.get(name) is not None}
        base: Any = self.base
        # The base is called later, and in a generation the whole model too.
        with weights_at_hand(self.base, *([self.model] if call.generating else [])):
            output = base.get_image_features(**given, return_dict=True)
        call.features = Features.of(output, self.family.tokens_per_image)
        arguments, chosen, observed = self.shortener.shorten(call, arguments, call.features)
        if call.rows is not None:
            call.kept = call.features.kept(chosen)
        self.done(observed)
        return arguments

    # -- the base model -----------------------------------------------------------------------------------------

    def _around_features(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call: PromptCall | None = current_call(self)
        if call is None or call.features is None or call.videos:
            return original(*args, **kwargs)
        features = call.features if call.kept is None else call.kept
        pixels = named_arguments(original, args, kwargs)[self.family.arguments[0]]
        times = len(pixels) // (call.encoded or 1)
        if times > 1 and mixes_up_images(self.model, call.encoded or 0, call.rows_of_images or []):
            raise UnsupportedCallError(
                "several images in a row of the prompt, with beams or several samples: this release of transformers "
                "gives rows each other's images; install 5.20 or newer, or generate without"
            )
        if times > 1:  # `generate` expanded the images for beams or samples; row by row, as it does with the prompt
            rows = call.rows_of_images or []
            features = features.ordered(
                [
                    image
                    for row in sorted(set(rows))
                    for _ in range(times)
                    for image, owner in enumerate(rows)
                    if owner == row
                ]
            )
        elif call.kept is None:
            return call.features.again()
        return features.rebuilt()

    def _around_videos(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call: PromptCall | None = current_call(self)
        if call is None:
            return original(*args, **kwargs)
        call.videos = True
        try:
            return original(*args, **kwargs)
        finally:
            call.videos = False

    def _on_base(self, base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
        call: PromptCall | None = current_call(self)
        if call is None or not call.gapped:
            return None
        arguments = named_arguments(base.forward, args, kwargs)  # some releases pass the ids by position
        return (), unpacked(call, arguments, arguments["input_ids"])
