"""The proof behind `handle.check`: keep=1.0 is bit-identical, fewer tokens really go on, and every step sees those."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.upstream import SEQUENCES
from tokprune.compiled import forget_compiled
from tokprune.errors import TokpruneError
from tokprune.interfaces import Bound, Choice, Cut, Observed
from tokprune.keep import Keep
from tokprune.outputs import answer_of
from tokprune.signal import Signal
from tokprune.verify.generation import GenerationProof, generates, noting


def verify(bound: Bound, cut: Cut, inputs: dict[str, Any], owner: object) -> None:
    """Raise `TokpruneError` unless the cut does what it says on `inputs`; the model must come without the cut on it."""
    model = bound.model
    if model.training:
        raise TokpruneError("check compares outputs bit for bit, so dropout must be off: call model.eval() first")
    plain = _answer(model, inputs)

    def keep_all(signal: Signal, keep: Keep | None = None) -> Choice:
        return Choice.all_of(signal, plain.device)

    seen: list[Observed] = []
    everything = replace(cut, choose=keep_all, keep=1.0)
    attachment = bound.attach(everything, seen.append, owner)
    try:
        same = _answer(model, inputs)
    finally:
        attachment.remove()
    if not seen:
        raise TokpruneError("the cut was never reached: is the model compiled, or was a module replaced?")
    if plain.shape != same.shape:
        raise TokpruneError(
            f"keep=1.0 changed the shape of the model's answer: expected {tuple(plain.shape)}, got {tuple(same.shape)}"
        )
    if not torch.equal(plain, same):
        difference = (plain.float() - same.float()).abs().max().item()
        raise TokpruneError(
            f"keep=1.0 changed the model's answer by up to {difference:.3g}; expected no difference at all"
        )
    seen.clear()
    chosen: list[Choice] = []
    entered: set[int] = set()
    attachment = bound.attach(replace(cut, choose=noting(cut, chosen)), seen.append, owner)
    spy = _Spy(seen, entered, attachment.reader, getattr(attachment, "joins_images", False))
    with ExitStack() as stack:
        stack.callback(attachment.remove)
        for module in attachment.reader.modules():
            stack.enter_context(module.register_forward_pre_hook(spy, with_kwargs=True))
        stack.enter_context(attachment.reader.register_forward_hook(spy.leaving))
        _answer(model, inputs)
    told, elections = seen[0], len(chosen)
    if told.length_after not in entered or (told.length_after < told.length_before and told.length_before in entered):
        raise TokpruneError(
            f"the cut reports {told.length_before} -> {told.length_after} tokens, but sequences of {sorted(entered)} "
            f"tokens entered or left the {' or '.join(type(each).__name__ for each in _heads(attachment.reader))}"
        )
    if generates(model):
        GenerationProof(bound, cut, inputs, owner).hold(keep_all, elections)


class _Spy:
    """Notes the lengths of the sequences that enter the reader, and its submodules, once the cut has happened.

    Sequences are known by the names that transformers gives them. A reader that gets none under such a name is
    believed to read its first argument. A reader inside of which the cut happens is known by what it gives. A list of
    modules is as many readers. Where the tokens of all images of a row are `joined` in one sequence, the length is that
    of one image, as it is reported.
    """

    def __init__(self, seen: list[Observed], lengths: set[int], reader: nn.Module, joined: bool = False) -> None:
        self.seen, self.lengths, self.reader, self.heads = seen, lengths, reader, _heads(reader)
        self.around, self.joined = False, joined

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module is self.reader:
            self.around = not self.seen
        if not self.seen:
            return
        sequences = [kwargs.get(name) for name in SEQUENCES]
        if any(module is each for each in self.heads) and not any(isinstance(s, Tensor) for s in sequences):
            sequences = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() == 3]
        self.lengths.update(self._length(s) for s in sequences if isinstance(s, Tensor))

    def _length(self, sequence: Tensor) -> int:
        images = len(self.seen[0].kept) // len(sequence) if self.joined else 1
        return sequence.shape[1] // max(images, 1)

    def leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note the length of what leaves the reader, if the cut happened inside of it and nothing else was seen."""
        if self.around and self.seen and not self.lengths:
            self.lengths.add(answer_of(output).shape[1])


def _heads(reader: nn.Module) -> list[nn.Module]:
    return list(reader) if isinstance(reader, nn.ModuleList) else [reader]


def _answer(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    forget_compiled()
    with torch.no_grad():
        return answer_of(model(**inputs))
