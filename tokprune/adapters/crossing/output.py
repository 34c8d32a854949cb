"""Seam S3, in front of the decoder: tokens leave behind the encoder, and the decoder never sees them.

Only for models that work out the masks of their cross-attention from what the encoder gives, and for the same number of
kept tokens in every row. Decode steps never see
tokprune: the cached keys and values are those of the kept tokens alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.crossing.encodings import Encoded, encoder_sources, note_images, signal_of
from tokprune.adapters.crossing.family import CrossFamily, cached_layers
from tokprune.adapters.crossing.refusals import refuse_options
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.guard import Guard
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.shape import Relied, generates, takes
from tokprune.errors import UnsupportedCallError
from tokprune.functional import kept_index
from tokprune.interfaces import Cut, Observed
from tokprune.keep import keep_count


class EncoderOutputCut(Attached):
    """A cut of the tokens that an encoder gives, on one model of a `CrossFamily`."""

    def __init__(
        self, model: nn.Module, family: CrossFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        self.encoder = module_at(model, family.encoder)
        self.reader = module_at(model, family.decoder)
        sources = encoder_sources(family, cut)
        self.capture = Capture(self, model, sources, watched=(family.encoder, family.decoder))
        self._given: Any = WeakIdKeyDictionary()  # what this cut gave, so that it is known when it comes back
        self._attach(self.encoder)

    @property
    def shortened(self) -> list[int] | None:
        """The layers of the cache that hold the shorter sequence; None where there are none."""
        return cached_layers(self.family, [module_at(self.model, each.module) for each in self.family.crossings])

    @property
    def joins_images(self) -> bool:
        """Whether the decoder reads all images of a row as one sequence, while the report is about one image."""
        return self.family.images is not None

    def _relies(self) -> list[Relied]:
        return [
            takes(self.model, "forward", *self.family.given),
            takes(self.encoder, "forward", *filter(None, [self.family.tiles])),
            *generates(self.model),
            *self.capture.relies(),
        ]

    def _install(self, undo: list[Any]) -> None:
        Guard(self.model, self, self._check).install(undo)
        # In front of other hooks: whoever looks at what the encoder gives sees what goes on.
        Entrance(self, self.encoder, self._begin, self._end, first=True).install(undo)
        undo.append(self.reader.register_forward_pre_hook(Hook(self._on_reader)))
        self.capture.install(undo)

    def _check(self, arguments: Mapping[str, Any], options: Options | None) -> None:
        if options is not None:
            refuse_options(self.family, options)
        for name in self.family.given:
            tokens = None if arguments.get(name) is None else last_hidden(arguments[name])
            if tokens is not None and tokens not in self._given and getattr(tokens, "_base", None) not in self._given:
                raise UnsupportedCallError(
                    f"{name} brings tokens that were encoded earlier and were not pruned then; encode them with the "
                    "model as it is now, or call handle.remove() first"
                )

    def _on_reader(self, reader: nn.Module, args: tuple[Any, ...]) -> None:
        # An encoder that was put in the place of the hooked one runs no hook of ours; its reader still does.
        self.capture.verify()

    def _begin(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.capture.verify()
        call = Encoded()
        note_images(call, self.family, encoder, args, kwargs)
        enter_call(self, call)

    def _end(self, call: Encoded, output: Any) -> Any:
        if output is None:
            return None
        hidden = last_hidden(output)
        shorter = self._shorten(call, hidden)
        self._given[shorter] = True
        return None if shorter is hidden else with_last_hidden(output, shorter)

    def _shorten(self, call: Encoded, hidden: Tensor) -> Tensor:
        protected = self.family.protected
        tokens = hidden[:, protected:]
        count = keep_count(self.cut.keep or 1.0, tokens.shape[1])
        signal = signal_of(self.family, self.cut, self.capture, call, tokens)
        kept = self.cut.choose(signal)
        shorter, sizes = hidden, None
        if count < tokens.shape[1]:
            tokens, sizes = reduce_tokens(self.cut.reduction, tokens, kept, signal)
            rows = kept_index(kept, count).to(hidden.device)[..., None].expand(-1, -1, hidden.shape[-1])
            shorter = torch.cat([hidden[:, :protected], tokens.gather(1, rows)], dim=1)
        self.done(Observed(kept, hidden.shape[1], shorter.shape[1], sizes))
        return shorter

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_given"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_given": WeakIdKeyDictionary()})


def last_hidden(output: Any) -> Tensor:
    """The tokens in what an encoder gives: by name, first in a tuple, or all there is."""
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "last_hidden_state", None)
    tokens: Tensor = output[0] if found is None else found
    return tokens


def with_last_hidden(output: Any, tokens: Tensor) -> Any:
    """The same output of an encoder with other tokens."""
    if isinstance(output, Tensor):
        return tokens
    if isinstance(output, tuple):
        return (tokens, *output[1:])
    return type(output)(**{**output, "last_hidden_state": tokens})
