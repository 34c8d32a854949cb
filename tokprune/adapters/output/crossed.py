"""Output pruning of an encoder whose output a decoder cross-attends to.

Only for models that work out the masks of their cross-attention from what the encoder gives, and for the same number of
kept tokens in every row. Decode steps never see tokprune: the cached keys and values are those of the kept tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from tokprune.adapters.crossing.family import CrossFamily, cached_layers
from tokprune.adapters.crossing.refusals import refuse_options
from tokprune.adapters.guard import Guard
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options
from tokprune.adapters.output.encoder import EncoderPruning, Encoding, last_hidden
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.shape import Relied, generates, takes
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut, Observed


class CrossedPruning(EncoderPruning):
    """Output pruning of the encoder on one model of a `CrossFamily`."""

    def __init__(
        self, model: nn.Module, whole: CrossFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        self.whole = whole
        self._given: Any = WeakIdKeyDictionary()  # what was given, so that it is known when it comes back
        super().__init__(model, encoder_family(whole), cut, done, owner)

    @property
    def shortened(self) -> list[int] | None:
        """The layers of the cache that hold the shorter sequence; None where there are none."""
        return cached_layers(self.whole, [module_at(self.model, each.module) for each in self.whole.crossings])

    @property
    def joins_images(self) -> bool:
        """Whether the decoder reads all images of a row as one sequence, while the report is about one image."""
        return self.whole.images is not None

    def _relies(self) -> list[Relied]:
        return [
            takes(self.model, "forward", *self.whole.given),
            takes(self.encoder, "forward", *filter(None, [self.whole.tiles])),
            *generates(self.model),
            *super()._relies(),
        ]

    def _install(self, undo: list[Any]) -> None:
        Guard(self.model, self, self._check).install(undo)
        super()._install(undo)

    def _check(self, arguments: Mapping[str, Any], options: Options | None) -> None:
        if options is not None:
            refuse_options(self.whole, options)
        for name in self.whole.given:
            tokens = None if arguments.get(name) is None else last_hidden(arguments[name])
            if tokens is not None and tokens not in self._given and getattr(tokens, "_base", None) not in self._given:
                raise UnsupportedCallError(
                    f"{name} brings tokens that were encoded earlier and were not pruned then; encode them with the "
                    "model as it is now, or call handle.remove() first"
                )

    def _prune(self, call: Encoding, hidden: Tensor) -> Tensor:
        shorter = super()._prune(call, hidden)
        self._given[shorter] = True
        return shorter

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_given"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_given": WeakIdKeyDictionary()})


def encoder_family(whole: CrossFamily) -> EncoderFamily:
    """The encoder of a `CrossFamily`, whose output is pruned."""
    return EncoderFamily(
        name=whole.name,
        encoder=whole.encoder,
        layers=[whole.encoder] * max(len(whole.attention), 1),
        attention=whole.attention,
        protected=whole.protected,
        patch_size=whole.patch_size,
        reader=whole.decoder,
        after=None,
        masked=False,
    )
