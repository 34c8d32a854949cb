"""At the cut: the election among the image tokens of a call, and the sequence that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.grouped import observed_in_groups
from tokprune.adapters.inside.call import Prompt
from tokprune.adapters.inside.family import DecoderFamily
from tokprune.adapters.inside.layout import Group
from tokprune.adapters.inside.refusals import check_copies
from tokprune.adapters.inside.shorter import Shorter
from tokprune.adapters.reducing import reduce_tokens
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Choice, Cut, Observed
from tokprune.keep import keep_count
from tokprune.layers import LayerVotes
from tokprune.signal import Signal, Text


class Election:
    """Chooses among image tokens on their way through a language model.

    Args:
        family: what the model is.
        cut: what is asked for.
        place: behind how many layers.
        wanted: the layers that vote.
    """

    def __init__(self, family: DecoderFamily, cut: Cut, place: int, wanted: Sequence[int]) -> None:
        self.family, self.cut, self.place, self.wanted = family, cut, place, wanted

    def hold(self, call: Prompt, states: Tensor) -> tuple[Tensor, Observed]:
        """Choose, and give back the hidden states `[row sequence dim]` that go on; `call.shorter` says which."""
        if call.sizes is None:
            raise UnsupportedCallError("the images' tokens were not computed in this call; was the model compiled?")
        groups = call.layout.groups(call.sizes)
        if call.layout.copies > 1 and not call.encoded:
            check_copies(groups)
        signals = [self._signal(call, group, states) for group in groups]
        choices = [self.cut.choose(signal) for signal in signals]
        call.done = True
        call.looks.clear()  # queries and keys of the layers: not needed any more
        stays = torch.ones_like(call.layout.placeholders)
        for group, choice in zip(groups, choices, strict=True):
            stays = stays.index_put((group.rows[:, None], group.places), choice.kept.to(stays.device))
        lengths = [each for each in self._lengths(groups, stays) for _ in range(call.layout.copies)]
        stays, before = stays.repeat_interleave(call.layout.copies, dim=0), states.shape[1]
        sizes: Sequence[Tensor | None] = [None] * len(groups)
        if min(lengths) < before:
            states, sizes = self._reduced(call, states, groups, choices, signals)
            if self.cut.reduction.removes:
                call.shorter = Shorter.of(stays, lengths)
                states = call.shorter.states(states)
            else:
                call.shorter = Shorter.hiding(stays)
        return states, observed_in_groups(groups, choices, sizes, before, states.shape[1])

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
        self,
        call: Prompt,
        states: Tensor,
        groups: Sequence[Group],
        choices: Sequence[Choice],
        signals: Sequence[Signal],
    ) -> tuple[Tensor, Sequence[Tensor | None]]:
        """The hidden states after the reduction, and what each image's tokens stand for."""
        if not self.cut.reduction.reads_tokens:
            return states, [None] * len(groups)
        sizes, copies, once = [], call.layout.copies, call.once(states)
        for group, choice, signal in zip(groups, choices, signals, strict=True):
            tokens, size = reduce_tokens(self.cut.reduction, group.of(once), choice, signal)
            rows, places = group.rows.to(states.device)[:, None], group.places.to(states.device)
            once = once.index_put((rows, places), tokens)
            sizes.append(size)
        return once.repeat_interleave(copies, dim=0), sizes
