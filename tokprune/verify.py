"""The proof behind `handle.check`: keep=1.0 is bit-identical, and fewer tokens really enter the language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokprune.compiled import forget_compiled
from tokprune.errors import TokpruneError
from tokprune.interfaces import Adapter, Cut, Observed
from tokprune.signal import Signal


def verify(model: nn.Module, adapter: Adapter, cut: Cut, inputs: dict[str, Any], owner: object) -> None:
    """Raise `TokpruneError` unless the cut does what it says on `inputs`; `model` must come without the cut on it."""
    if model.training:
        raise TokpruneError("check compares outputs bit for bit, so dropout must be off: call model.eval() first")
    plain = _logits(model, inputs)

    def keep_all(signal: Signal) -> Tensor:
        return torch.ones(signal.shape, dtype=torch.bool, device=plain.device)

    seen: list[Observed] = []
    everything = Cut(cut.target, cut.needs, keep_all, cut.reduction, cut.positions)
    attachment = adapter.attach(model, everything, seen.append, owner)
    try:
        same = _logits(model, inputs)
    finally:
        attachment.remove()
    if not seen:
        raise TokpruneError("the cut was never reached: is the model compiled, or was a module replaced?")
    if not torch.equal(plain, same):
        difference = (plain.float() - same.float()).abs().max().item()
        raise TokpruneError(f"keep=1.0 changed the logits by up to {difference:.3g}; expected no difference at all")
    seen.clear()
    entered: set[int] = set()
    attachment = adapter.attach(model, cut, seen.append, owner)
    spy = _Spy(seen, entered)
    spies = [m.register_forward_pre_hook(spy, with_kwargs=True) for m in model.modules() if m is not model]
    try:
        _logits(model, inputs)
    finally:
        for hook in spies:
            hook.remove()
        attachment.remove()
    told = seen[0]
    if told.length_after not in entered or (told.length_after < told.length_before and told.length_before in entered):
        raise TokpruneError(
            f"the cut reports {told.length_before} -> {told.length_after} tokens, but sequences of {sorted(entered)} "
            "tokens entered the language model"
        )


class _Spy:
    """Notes the lengths of the embedding sequences that enter submodules once the cut has happened.

    Before it, an image encoder may well take as many tokens as the prompt has.
    """

    def __init__(self, seen: list[Observed], lengths: set[int]) -> None:
        self.seen, self.lengths = seen, lengths

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeds = kwargs.get("inputs_embeds")
        if self.seen and isinstance(embeds, Tensor):
            self.lengths.add(embeds.shape[1])


def _logits(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    forget_compiled()
    with torch.no_grad():
        output = model(**inputs)
    logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
    return logits
