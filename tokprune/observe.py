"""`tokprune.observe`: what a scorer would see, without pruning anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tokprune.after import After, check_after
from tokprune.errors import TokpruneError
from tokprune.fit import bound_to, check_signals, choose_target
from tokprune.interfaces import Adapter, Choice, Cut, Observed
from tokprune.keep import Keep
from tokprune.reductions import Prune
from tokprune.signal import Signal


def observe(
    model: nn.Module,
    inputs: Mapping[str, Any],
    needs: Sequence[str] = ("tokens",),
    *,
    target: str | None = None,
    after: After | None = None,
    adapter: str | Adapter | None = None,
) -> Signal:
    """Run one forward in which nothing is pruned, and return the signal.

    Args:
        model: a model that an adapter knows.
        inputs: keyword arguments of its forward.
        needs: the signals to capture, all layers of each.
        target: the tokens that the signal is about; None takes the adapter's first.
        after: for a target that is cut inside an encoder: behind which layers, as in `Policy`; the signal is that of
            the first cut.
        adapter: name or object; None finds one.

    Raises:
        AdapterError: no adapter fits, or it does not offer a signal.
    """
    bound = bound_to(model, adapter)
    model = bound.model
    chosen = choose_target(bound, target)
    place = None if after is None else check_after(after)
    check_signals(bound, chosen, "tokprune.observe", dict.fromkeys(needs), place)
    recorder = _Recorder()
    cut = Cut(
        chosen,
        dict.fromkeys(needs, "all"),
        recorder.choose,
        Prune(),
        "compact",
        keep=1.0,
        after=place,
    )
    attachment = bound.attach(cut, recorder.done, recorder)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        attachment.remove()
    if recorder.signal is None:
        raise TokpruneError("the forward never reached the place where tokens are cut; was the model compiled?")
    return recorder.signal


class _Recorder:
    """Keeps all tokens and remembers the signal."""

    def __init__(self) -> None:
        self.signal: Signal | None = None

    def choose(self, signal: Signal, keep: Keep | None = None) -> Choice:
        if self.signal is None:
            self.signal = signal
        return Choice.all_of(signal)

    def done(self, observed: Observed) -> None:
        pass
