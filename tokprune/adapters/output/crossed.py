"""Output pruning of an encoder whose output a decoder cross-attends to: of what it gives, or between its layers.

Only for models that work out the masks of their cross-attention from what the encoder gives, and for the same number of
kept tokens in every row. Decode steps never see tokprune: the cached keys and values are those of the kept tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from tokprune.adapters.calls import enter_call
from tokprune.adapters.crossing.family import CrossFamily, cached_layers
from tokprune.adapters.crossing.refusals import refuse_options
from tokprune.adapters.guard import Guard
from tokprune.adapters.modules import module_at
from tokprune.adapters.outercall import Options
from tokprune.adapters.output.encoder import EncoderPruning, last_hidden
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.output.weighing import Passed
from tokprune.adapters.shape import Relied, generates, takes
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut, Observed


class CrossedPruning(EncoderPruning):
    """Output pruning of the encoder on one model of a `CrossFamily`."""

    def __init__(
        self, model: nn.Module, whole: CrossFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        self.whole = whole
        super().__init__(model, encoder_family(whole, cut.inside == "encoder"), cut, done, owner)

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
            if arguments.get(name) is None:
                continue
            given = last_hidden(arguments[name])
            tokens = given if given in self._given else getattr(given, "_base", None)
            if tokens is None or tokens not in self._given:
                raise UnsupportedCallError(
                    f"{name} brings tokens that were encoded earlier and were not pruned then; encode them with the "
                    "model as it is now, or call handle.remove() first"
                )
            enter_call(self.passed, Passed(sizes=self._given[tokens]))


def encoder_family(whole: CrossFamily, inside: bool = False) -> EncoderFamily:
    """The encoder of a `CrossFamily`, whose output is pruned, or which is pruned `inside`.

    Raises:
        AdapterError: its layers are not known, or lay out tokens in a way that fewer do not fit in.
    """
    layers = [_layer_of(whole.encoder, source.modules[0][0]) for source in whole.attention]
    if inside and (not layers or whole.tiles is not None):
        reason = (
            "its layers are not known here" if not layers else "it lays tokens out tile by tile, which needs them all"
        )
        raise AdapterError(
            f"adapter {whole.name!r}: the encoder at {whole.encoder!r} cannot be pruned inside, for {reason}; omit "
            "inside='encoder' to prune what it gives"
        )
    return EncoderFamily(
        name=whole.name,
        encoder=whole.encoder,
        layers=layers or [whole.encoder],
        attention=whole.attention,
        protected=whole.protected,
        patch_size=whole.patch_size,
        reader=whole.decoder,
        after=EncoderFamily.after if inside else None,
        masked=whole.patch_size is not None,  # Whisper takes a mask and ignores it
        crossed=[crossing.module for crossing in whole.crossings],
    )


def _layer_of(encoder: str, path: str) -> str:
    """The path of the layer that the module at a path is in.

    Example:
        >>> _layer_of("model.encoder", "model.encoder.layers.3.self_attn.q_proj")
        'model.encoder.layers.3'
    """
    names = path.split(".")
    own = len(encoder.split("."))
    number = next(index for index, name in enumerate(names) if index >= own and name.isdigit())
    return ".".join(names[: number + 1])
