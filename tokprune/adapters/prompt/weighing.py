"""Proportional attention after prompt pruning: a merged token counts in every layer of the language model as many times
as it stands for tokens, in the prompt and in every later step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.attention import crosses
from tokprune.adapters.calls import current_call
from tokprune.adapters.decoder.family import Reader
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import named_arguments
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.refusals import refuse_weighing_again
from tokprune.adapters.shape import Relied, takes
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.stages import Stage, Weighing, enter_stage, leave_stage
from tokprune.adapters.tap import reaches
from tokprune.adapters.upstream import CACHE_NAMES, READ_BY_DECODER, cache_in
from tokprune.errors import AdapterError, UnsupportedCallError

_NOTE = "_tokprune_sizes"


class PromptWeighing:
    """Weighs the columns of a shortened prompt in all layers that read it, for the attachment `owner`.

    Args:
        owner: the attachment.
        model: the whole model.
        family: what is known of it.
        known: the cache of a call, or None -> the sizes of the prompt that it reads or goes on from; None without any.

    Raises:
        AdapterError: the layers of the language model are not of a kind that is known here.
    """

    def __init__(
        self, owner: Any, model: nn.Module, family: PromptFamily, known: Callable[[Any], Sizes | None]
    ) -> None:
        self.owner, self.known = owner, known
        self.at = Reader.of(model, family)
        language_model: Any = module_at(model, family.language_model)
        self.reader: Any = self.at.module
        self.windows = any(self.at.windows)
        self.decoder: Any = language_model.get_decoder() if self.at.encodes else None
        own = [(index, module_at(model, path)) for index, path in enumerate(self.at.attention)]
        self.taps = [Weighing(owner, self.reader, own)]
        if self.decoder is not None:
            found = [part for name, part in self.decoder.named_modules() if crosses(name) and reaches(part)]
            self.taps.append(Weighing(owner, self.decoder, list(enumerate(found))))

    def relies(self) -> list[Relied]:
        """What is read of the arguments of the language model."""
        if self.decoder is not None:
            return [takes(self.decoder, "forward", READ_BY_DECODER[0])]
        return [takes(self.reader, "forward", "input_ids", "inputs_embeds", CACHE_NAMES)]

    def install(self, undo: list[Any]) -> None:
        """Put hooks and taps on the language model, and append what takes them off to `undo`."""
        undo.append(self.reader.register_forward_pre_hook(Hook(self._on_reader), with_kwargs=True))
        undo.append(self.reader.register_forward_hook(Hook(self._after_reader), always_call=True))
        if self.decoder is not None:
            undo.append(self.decoder.register_forward_pre_hook(Hook(self._on_decoder), with_kwargs=True))
            undo.append(self.decoder.register_forward_hook(Hook(self._after_decoder), always_call=True))
        for each in self.taps:
            each.install(undo)

    def refuse_checkpointing(self) -> None:
        """Raise `UnsupportedCallError` if layers would run again in backward, where sizes are no longer known."""
        refuse_weighing_again([*self.at.layers, *(() if self.decoder is None else self.decoder.modules())])

    def _on_reader(self, reader: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = named_arguments(reader.forward, args, kwargs)
        cache, total = cache_in(arguments), None
        if self.windows:
            given = arguments.get("inputs_embeds")
            given = arguments["input_ids"] if given is None else given
            total = given.shape[1] + (0 if cache is None else int(cache.get_seq_length()))
        enter_stage(reader, Stage(self.owner, 0, self.known(cache), total))

    def _after_reader(self, reader: nn.Module, args: Any, output: Any) -> None:
        leave_stage(reader, self.owner)
        if self.decoder is not None and output is not None:
            vars(output[0])[_NOTE] = self.known(None)  # for calls of the decoder alone

    def _on_decoder(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = named_arguments(decoder.forward, args, kwargs).get(READ_BY_DECODER[0])
        sizes = self.known(None) if current_call(self.owner) is not None else sizes_of(states)
        if sizes is not None and states is not None and states.shape[1] != sizes.sizes.shape[1]:
            sizes = None  # a later stage, inside of the encoder, has left fewer, and weighs them
        enter_stage(decoder, Stage(self.owner, 0, sizes))

    def _after_decoder(self, decoder: nn.Module, args: Any, output: Any) -> None:
        leave_stage(decoder, self.owner)


def weighs(model: nn.Module, family: PromptFamily) -> bool | str:
    """Whether attention to a prompt can be proportional, or why not."""
    try:
        Reader.of(model, family)
    except AdapterError:
        kind = type(module_at(model, family.language_model)).__name__
        return f"the layers of its {kind} do not compute attention in a way that can be weighed"
    return True


def sizes_of(states: Tensor | None) -> Sizes | None:
    """The sizes of the tokens whose vectors the encoder of an encoder-decoder gave earlier; None if it merged none.

    Raises:
        UnsupportedCallError: they did not come from the encoder as they are.
    """
    if states is None:
        return None
    if _NOTE not in vars(states):
        raise UnsupportedCallError(
            "what the encoder of the language model gave was copied, or made before the policy came, and how many "
            "tokens each of its vectors stands for is not known; give the images, or use attention='plain'"
        )
    return vars(states)[_NOTE]  # type: ignore[no-any-return]
