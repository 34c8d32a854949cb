"""What a cut inside a decoder, with its caches of different lengths, cannot do: refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tokprune.adapters.crossing.family import CrossFamily
from tokprune.adapters.outercall import Options
from tokprune.adapters.refusals import STEPS_BACK, refuse_cache, refuse_cache_option, refuse_pieces
from tokprune.adapters.upstream import cache_in
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut


@dataclass(frozen=True, eq=False)
class Refusals:
    """Looks at the arguments of an outer call.

    Args:
        family: what the model is.
        cut: what is asked for.
        decoder: the module that runs through the cross-attention layers.
        shortened: those that get fewer keys and values.
    """

    family: CrossFamily
    cut: Cut
    decoder: nn.Module
    shortened: Sequence[nn.Module]

    def __call__(self, arguments: Mapping[str, Any], options: Options | None) -> None:
        """Raise `UnsupportedCallError` if the call cannot be pruned rightly; `options` are those of a generation."""
        if options is not None:
            refuse_options(self.family, options)
            _check_generation(options)
            if options.get("use_cache") is False and not self.cut.settled:
                raise UnsupportedCallError(
                    "without a cache every step would choose anew, with one more token to vote; leave use_cache on"
                )
        if self.family.decoder.endswith("encoder") and cache_in(arguments) is not None:
            raise UnsupportedCallError(
                "a cache (past_key_values) came with a question, whose encoder would put keys and values of the image "
                "beside those of the text; omit it, or call handle.remove() first"
            )
        refuse_cache(cache_in(arguments))
        if self.cut.keep is None or not self.cut.reduction.removes:
            fused = [name for name in map(_implementation, self.shortened) if "flash" in name or "flex" in name]
            if fused:
                raise UnsupportedCallError(
                    f"rows that keep different numbers of tokens, and tokens that are hidden, need a mask, which "
                    f"attention {fused[0]!r} does not take here; use 'sdpa' or 'eager', or a selector that keeps the "
                    "same number, such as 'top-k'"
                )
        if torch.is_grad_enabled() and any(
            module.training and getattr(module, "gradient_checkpointing", False) for module in self.decoder.modules()
        ):
            raise UnsupportedCallError(
                "gradient checkpointing runs the decoder's layers again in backward, where the tokens that were chosen "
                "are no longer known; switch it off"
            )


def refuse_options(family: CrossFamily, options: Options) -> None:
    """Raise `UnsupportedCallError` for options of `generate` that the family refuses."""
    refuse_pieces(options)
    for name, reason in family.refused.items():
        if options.first([name]) is not None:
            raise UnsupportedCallError(f"adapter {family.name!r}: {name} in generate: {reason}")


def _check_generation(options: Options) -> None:
    refuse_cache_option(options)
    if options.first(STEPS_BACK) is not None:
        raise UnsupportedCallError(
            "assisted decoding takes steps back in the cache, and which tokens stayed is kept with it; generate "
            "without an assistant and without prompt lookup, or call handle.remove() first"
        )


def _implementation(attention: nn.Module) -> str:
    """The name of the attention implementation that a module uses."""
    return str(getattr(getattr(attention, "config", None), "_attn_implementation", None))
