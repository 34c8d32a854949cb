"""Prompt pruning where a model hands a finished prompt of embeddings to a language model, as BLIP-2 does.

There the embeddings, the mask and the ids are together; decode steps never see tokprune.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.answers import Asked
from tokprune.adapters.callbacks import WholePrompt, merging, refuse_custom, shown
from tokprune.adapters.calls import current_call, during_call, enter_call
from tokprune.adapters.continued import go_on, masked_anew, whole_prompt_shortened
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.generations import filled
from tokprune.adapters.hooks import Hook
from tokprune.adapters.hostcopy import HostCopy
from tokprune.adapters.outercall import named_arguments, put_prompt_back
from tokprune.adapters.positions import BIAS, RelativeBias, refuse_checkpointing, relative_bias_attention
from tokprune.adapters.prompt.call import PromptCall
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.images import Placed
from tokprune.adapters.prompt.pruning import PromptPruning, unpacked
from tokprune.adapters.prompt.weighing import sizes_of
from tokprune.adapters.shape import Relied, generates, has, takes
from tokprune.adapters.upstream import CACHE_NAMES, ENCODED, ENCODER_OUTPUTS, cache_in, shift_length_limits, since
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed


class DelegatedPruning(PromptPruning):
    """Prompt pruning on a model that delegates text to a language model with a `generate` of its own."""

    def __init__(
        self, model: nn.Module, family: PromptFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, family, cut, done, owner)
        self.encoder_decoder = self.shortener.encoder_decoder
        moves = self.encoder_decoder and self.shortener.moves
        self.biased = relative_bias_attention(self.language_model) if moves else None
        self._attach()

    def _config(self) -> Any:
        language_model: Any = self.language_model
        return language_model.config

    def _relies(self) -> list[Relied]:
        moves = not self.encoder_decoder and (self.cut.positions == "preserve" or not self.cut.reduction.removes)
        own = hasattr(self.model, "generate")
        read = ("input_ids", "attention_mask", "labels", self.family.arguments[0])
        return [
            takes(self.model, "forward", *read, *([ENCODED] if own and since("5.20") else [])),
            takes(self.model, "get_placeholder_mask", "inputs_embeds"),
            takes(self.language_model, "forward", "inputs_embeds", "attention_mask", CACHE_NAMES),
            *([takes(self.language_model, "forward", "position_ids")] if moves else []),
            *([takes(self.language_model, "generate"), *generates(self.language_model)] if own else []),
            *([] if self.biased is None else [takes(self.biased, "compute_bias", "query_length", "key_length")]),
            *([] if self.biased is None else [has(self.biased, *BIAS)]),
            *([] if self.weighing is None else self.weighing.relies()),
        ]

    def _install(self, undo: list[Any]) -> None:
        model, language_model = self.model, self.language_model
        Entrance(self, model, self._begin, self._end).install(undo)
        undo.append(language_model.register_forward_pre_hook(Hook(self._on_forward), with_kwargs=True))
        if not self.encoder_decoder:
            undo.append(language_model.register_forward_hook(Hook(self._on_output)))
        if self.weighing is not None:
            self.weighing.install(undo)
        self.capture.install(undo)
        if self.biased is not None:
            self._shim(self.biased, "compute_bias", RelativeBias(self, self.biased))
        if hasattr(model, "generate"):  # else users generate with the language model, without the image
            self._shim(model, "generate", self._around_generate)
            self._shim(language_model, "generate", self._around_inner_generate)
            self._put(merging(self, language_model))

    # -- the outer call -----------------------------------------------------------------------------------------

    def _open(self, arguments: dict[str, Any], generating: bool) -> PromptCall:
        self._check(arguments, generating)
        if self.biased is not None and torch.is_grad_enabled():
            refuse_checkpointing(self.language_model)
        ids, embeds = arguments.get("input_ids"), arguments.get("inputs_embeds")
        call = PromptCall(input_ids=ids, placeholders=self._placeholders(ids, embeds))
        images = arguments.get(self.family.arguments[0])
        call.encoded = None if images is None else images.shape[:-3].numel()  # a video's frames count as images
        if call.placeholders is not None:
            call.counts = HostCopy(call.placeholders.sum(dim=1)[None])
            if call.counts.here and call.encoded is not None:  # else when they are needed: by then they have arrived
                self.shortener.match(call, [self.family.tokens_per_image or 0] * call.encoded)
        return call

    def _placeholders(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """Where the image tokens go, bool `[row sequence]`, found as the model itself finds them."""
        if input_ids is not None:
            return input_ids == self.family.image_token_id
        if inputs_embeds is None:
            return None
        outer: Any = self.model
        mask: Tensor = outer.get_placeholder_mask(None, inputs_embeds=inputs_embeds)
        return mask[..., 0] if mask.dim() == 3 else mask

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        arguments = named_arguments(model.forward, args, kwargs)
        call = self._open(arguments, generating=False)
        if not self.encoder_decoder:  # else logits and labels are those of the decoder, which is no part of the prompt
            call.asked, arguments = Asked.of(model, arguments)
        enter_call(self, call)
        return (), arguments

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        arguments = named_arguments(original, args, kwargs)
        call = self._open(arguments, generating=True)
        with during_call(self, call):
            output = original(*args, **kwargs)
        prompt = self._whole(call)
        return output if prompt is None else put_prompt_back(output, prompt)

    def _whole(self, call: PromptCall) -> WholePrompt | None:
        """The prompt as it came; None where what is generated does not begin with a shorter one."""
        if call.rows is None or call.input_ids is None or self.encoder_decoder:
            return None
        return WholePrompt(call.input_ids, call.rows.length)

    # -- the language model -------------------------------------------------------------------------------------

    def _on_forward(
        self, language_model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, ...] | None:
        call = current_call(self)
        if call is None and not self.encoder_decoder:
            arguments = named_arguments(language_model.forward, args, kwargs)
            prompt = self.continued.prompt_of(arguments)
            return None if prompt is None else ((), masked_anew(prompt, arguments))
        if call is None or kwargs.get("inputs_embeds") is None:
            return None
        if not call.done:
            return args, self._shorten(call, kwargs, generating=False)
        return args, unpacked(call, kwargs, kwargs["inputs_embeds"])

    def _on_output(self, language_model: nn.Module, args: Any, output: Any) -> None:
        call = current_call(self)
        if call is not None and call.done and not call.noted:
            self.continued.note(call, output)
            call.noted = True

    def _around_inner_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = current_call(self)
        prompt = None
        if not self.encoder_decoder and (call is None or not call.done):
            arguments = named_arguments(original, args, kwargs)
            prompt = self.continued.prompt_of(arguments)
            if call is None and prompt is not None:
                return go_on(self.language_model, original, arguments, prompt)
        if call is not None and not call.done and kwargs.get("inputs_embeds") is not None:
            if call.placeholders is None:
                self._find_prompt(call, kwargs)
            if prompt is None:
                kwargs = self._shorten(call, kwargs, generating=True)
            else:  # the cache holds what was chosen when the prompt was first read
                call.rows, call.done, call.noted = prompt.with_new(kwargs["inputs_embeds"].shape[1]), True, True
                call.sizes = prompt.sizes
                kwargs = whole_prompt_shortened(prompt, kwargs)
            if call.rows is not None and not self.encoder_decoder:
                dropped = call.rows.before - call.rows.length
                kwargs = shift_length_limits(kwargs, getattr(self.language_model, "generation_config", None), dropped)
                refuse_custom(kwargs)
            args, kwargs = shown(original, args, kwargs, self._whole(call))
        if call is None and self.encoder_decoder and self.weighing is not None:
            given = kwargs.get(ENCODER_OUTPUTS)
            with during_call(self, PromptCall(done=True, sizes=None if given is None else sizes_of(given[0]))):
                return original(*args, **kwargs)
        return original(*args, **kwargs)

    def _find_prompt(self, call: PromptCall, kwargs: dict[str, Any]) -> None:
        """The outer model was given no prompt and built one: the image tokens, then the beginning of text."""
        embeds: Tensor = kwargs["inputs_embeds"]
        rows, length = embeds.shape[:2]
        call.input_ids = kwargs.get("input_ids")
        call.placeholders = (torch.arange(length, device=embeds.device) < length - 1).expand(rows, length)
        call.counts = HostCopy(torch.tensor([[length - 1] * rows], device="cpu"))

    def _shorten(self, call: PromptCall, kwargs: dict[str, Any], generating: bool) -> dict[str, Any]:
        embeds: Tensor = kwargs["inputs_embeds"]
        if call.placeholders is None or call.vectors is None:
            raise UnsupportedCallError(
                "the query tokens were not computed in this call; was the model compiled before?"
            )
        call.generating, call.placeholders = generating, call.placeholders.to(embeds.device)
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.shape != embeds.shape[:2] and not filled(cache_in(kwargs)):
            raise UnsupportedCallError(
                f"attention_mask: expected [row sequence] = {tuple(embeds.shape[:2])}, as input_ids, got "
                f"{tuple(mask.shape)}; pass the mask that the processor gave with the prompt"
            )
        call.mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device) if mask is None else mask
        images = Placed(call.vectors, embeds, call.placeholders)
        kwargs, _, observed = self.shortener.shorten(call, kwargs, images)
        if call.rows is not None and not self.encoder_decoder and filled(cache_in(kwargs)):
            raise UnsupportedCallError(
                "images came with a cache that has tokens in it already, and which of theirs stayed is not known; pass "
                "the whole prompt without the cache, or call handle.remove() first"
            )
        self.done(observed)
        return kwargs
