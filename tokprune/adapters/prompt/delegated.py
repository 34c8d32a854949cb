"""Seam S1: cut where the outer model hands the finished prompt to its language model.

There the embeddings, the mask and the ids are together, so transformers itself does positions, cache, beams and
sampling on the shorter sequence; decode steps never see tokprune.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.answers import Asked
from tokprune.adapters.attached import Attached
from tokprune.adapters.callbacks import WholePrompt, merging, refuse_custom, shown
from tokprune.adapters.calls import Call, current_call, during_call, enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.continued import Continuations, go_on, masked_anew, whole_prompt_shortened
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.generations import filled
from tokprune.adapters.hooks import Hook
from tokprune.adapters.hostcopy import HostCopy
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options, named_arguments, put_prompt_back, refuse_precomputed
from tokprune.adapters.positions import BIAS, RelativeBias, refuse_checkpointing, relative_bias_attention
from tokprune.adapters.prompt.delegated_prompt import PromptShortener
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.refusals import refuse_after, refuse_finished_mask, refuse_pieces
from tokprune.adapters.shape import Relied, generates, has, takes
from tokprune.adapters.sources import chosen_sources
from tokprune.adapters.upstream import CACHE_NAMES, ENCODED, cache_in, shift_length_limits, since
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed


class DelegatedCut(Attached):
    """A cut of the query tokens on one model of a `PromptFamily`."""

    def __init__(
        self,
        model: nn.Module,
        family: PromptFamily,
        cut: Cut,
        done: Callable[[Observed], Any],
        owner: object,
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        where = f"adapter {family.name!r} target {cut.target!r}"
        refuse_after(where, "behind the encoder", cut, ", or choose target 'image'")
        self.language_model = self.reader = module_at(model, family.language_model)
        sources = chosen_sources(family.sources, cut)
        self.capture = Capture(self, model, sources, family.vectors, (family.language_model,), *(family.padded or ()))
        self.prompt = PromptShortener(family, cut, self.capture, self.language_model)
        self.encoder_decoder = self.prompt.encoder_decoder
        self.continued = Continuations()
        moves = self.encoder_decoder and self.prompt.moves
        self.biased = relative_bias_attention(self.language_model) if moves else None
        self._attach()

    @property
    def shortened(self) -> slice:
        """All layers of the cache hold the shorter sequence: an encoder-decoder's those of its cross-attention."""
        return slice(None)

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
            *self.capture.relies(),
        ]

    def _install(self, undo: list[Any]) -> None:
        model, language_model = self.model, self.language_model
        Entrance(self, model, self._begin, self._end).install(undo)
        undo.append(language_model.register_forward_pre_hook(Hook(self._on_forward), with_kwargs=True))
        if not self.encoder_decoder:
            undo.append(language_model.register_forward_hook(Hook(self._on_output)))
        self.capture.install(undo)
        if self.biased is not None:
            self._shim(self.biased, "compute_bias", RelativeBias(self, self.biased))
        if hasattr(model, "generate"):  # else whoever generates does so with the language model, past the image
            self._shim(model, "generate", self._around_generate)
            self._shim(language_model, "generate", self._around_inner_generate)
            self._put(merging(self, language_model))

    # -- the outer call -----------------------------------------------------------------------------------------

    def _open(self, arguments: dict[str, Any]) -> Call:
        self.capture.verify()
        refuse_precomputed(arguments, "query tokens", self.family.arguments[0])
        refuse_finished_mask(arguments)
        if self.biased is not None and torch.is_grad_enabled():
            refuse_checkpointing(self.language_model)
        ids, embeds = arguments.get("input_ids"), arguments.get("inputs_embeds")
        call = Call(placeholders=self._placeholders(ids, embeds), input_ids=ids)
        images = arguments.get(self.family.arguments[0])
        call.images = None if images is None else images.shape[:-3].numel()  # a video's frames count as images
        if call.placeholders is not None:
            call.counts = HostCopy(call.placeholders.sum(dim=1))
            if call.counts.here:
                self.prompt.check(call)  # else when the counts are needed: by then they have arrived
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
        call = self._open(arguments)
        if not self.encoder_decoder:  # else logits and labels are those of the decoder, which is no part of the prompt
            call.asked, arguments = Asked.of(model, arguments)
        enter_call(self, call)
        return (), arguments

    def _end(self, call: Call, output: Any) -> Any:
        return None if call.asked is None else call.asked.answered(self.model, output, call.shown)

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        arguments = named_arguments(original, args, kwargs)
        refuse_pieces(Options(arguments, self.model))
        call = self._open(arguments)
        with during_call(self, call):
            output = original(*args, **kwargs)
        prompt = self._whole(call)
        return output if prompt is None else put_prompt_back(output, prompt)

    def _whole(self, call: Call) -> WholePrompt | None:
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
        if call.gapped and kwargs.get("attention_mask") is None and cache_in(kwargs) is None:
            # Without a mask, positions with gaps are read as several sequences packed into one.
            ones = torch.ones(
                kwargs["inputs_embeds"].shape[:2], dtype=torch.long, device=kwargs["inputs_embeds"].device
            )
            return args, {**kwargs, "attention_mask": ones}
        return None

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
                kwargs = whole_prompt_shortened(prompt, kwargs)
            if call.rows is not None and not self.encoder_decoder:
                dropped = call.rows.before - call.rows.length
                kwargs = shift_length_limits(kwargs, getattr(self.language_model, "generation_config", None), dropped)
                refuse_custom(kwargs)
            args, kwargs = shown(original, args, kwargs, self._whole(call))
        return original(*args, **kwargs)

    def _find_prompt(self, call: Call, kwargs: dict[str, Any]) -> None:
        """The outer model was given no prompt and built one: the image tokens, then the beginning of text."""
        embeds: Tensor = kwargs["inputs_embeds"]
        rows, length = embeds.shape[:2]
        call.input_ids = kwargs.get("input_ids")
        call.placeholders = (torch.arange(length, device=embeds.device) < length - 1).expand(rows, length)
        call.counts = HostCopy(torch.tensor([length - 1] * rows, device="cpu"))

    def _shorten(self, call: Call, kwargs: dict[str, Any], generating: bool) -> dict[str, Any]:
        kwargs, observed = self.prompt.shorten(call, kwargs, generating)
        if call.rows is not None and not self.encoder_decoder and filled(cache_in(kwargs)):
            raise UnsupportedCallError(
                "images came with a cache that has tokens in it already, and which of theirs stayed is not known; pass "
                "the whole prompt without the cache, or call handle.remove() first"
            )
        self.done(observed)
        return kwargs
