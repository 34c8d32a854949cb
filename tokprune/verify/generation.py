"""The part of the proof that generates: what every step after the prompt goes by."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.upstream import CACHE_NAMES, cache_lengths, cache_of
from tokprune.compiled import forget_compiled
from tokprune.errors import TokpruneError, UnsupportedCallError
from tokprune.interfaces import Bound, Choice, Cut, Observed
from tokprune.keep import Keep
from tokprune.signal import Signal

NEW_TOKENS = 4
"""How many tokens are generated: a prefill, a first step with a cache, and steps that go on from steps."""

_NOT_ASKED = ("labels", "decoder_", "use_cache", "return_dict", "output_", "logits_to_keep", *CACHE_NAMES)
"""Beginnings of names of a forward's arguments that a generation does without."""


@dataclass(frozen=True, eq=False)
class Written:
    """What one greedy generation gave.

    Attributes:
        sequences: the tokens, the prompt in front where the model returns it.
        logits: `[row vocabulary]` of each new token; empty where the model does not give them.
        lengths: how many tokens each layer of the cache holds; empty where there is none to look at.
    """

    sequences: Tensor
    logits: Sequence[Tensor]
    lengths: Sequence[int]


class GenerationProof:
    """Proves a cut on what a model generates from the inputs of a forward.

    Args:
        bound: the adapter on the model, without the cut on it.
        cut: what is proved.
        inputs: of a forward; what only a forward takes is left out.
        owner: whose cut it is.
    """

    def __init__(self, bound: Bound, cut: Cut, inputs: Mapping[str, Any], owner: object) -> None:
        self.bound, self.cut, self.owner = bound, cut, owner
        self.model: Any = bound.model
        self.prompt = {name: value for name, value in inputs.items() if not name.startswith(_NOT_ASKED)}

    def hold(self, keep_all: Callable[..., Choice], elections: int) -> None:
        """Raise `TokpruneError` if a proof fails, and warn where the model or the policy cannot generate at all.

        Args:
            keep_all: chooses every token.
            elections: how many times a forward chooses.
        """
        try:
            plain = self._write()
        except Exception as error:
            _not_proved(f"the unpruned model does not generate from these inputs ({_short(error)})")
            return
        try:
            same, _ = self._pruned(replace(self.cut, choose=keep_all, keep=1.0))
            chosen: list[Choice] = []
            cached, seen = self._pruned(replace(self.cut, choose=noting(self.cut, chosen)))
        except UnsupportedCallError as error:
            _not_proved(f"this policy refuses to generate ({_short(error)})")
            return
        if not torch.equal(same.sequences, plain.sequences):
            raise TokpruneError(
                f"keep=1.0 changed what the model generates: expected {plain.sequences.tolist()}, got "
                f"{same.sequences.tolist()}"
            )
        self._proves_one_choice(chosen, elections)
        self._proves_a_shorter_cache(plain, cached, seen[0])
        self._proves_that_the_cache_changes_nothing(plain, cached, chosen[:elections])

    def _proves_one_choice(self, chosen: Sequence[Choice], elections: int) -> None:
        for number, choice in enumerate(chosen[elections:]):
            if not torch.equal(choice.kept, chosen[number % elections].kept):
                raise TokpruneError(
                    "a generation with a cache chose anew at a later step, and other tokens: expected the tokens that "
                    "were kept with the prompt to stay the same; which they were was not found by the cache"
                )

    def _proves_a_shorter_cache(self, plain: Written, cached: Written, told: Observed) -> None:
        layers, dropped = self.shortened, told.length_before - told.length_after
        if layers is None or len(plain.lengths) != len(cached.lengths):
            return
        for index in range(len(plain.lengths))[layers] if isinstance(layers, slice) else layers:
            expected = plain.lengths[index] - dropped
            if cached.lengths[index] != expected:
                raise TokpruneError(
                    f"the cache of a pruned generation is not shorter: layer {index} holds {cached.lengths[index]} "
                    f"tokens; expected {expected}, {dropped} fewer than without pruning"
                )

    def _proves_that_the_cache_changes_nothing(self, plain: Written, cached: Written, chosen: Sequence[Choice]) -> None:
        if not (plain.logits and cached.logits):
            return _not_proved("the model gives no logits of what it generates")
        try:
            whole = self._write(use_cache=False)
        except Exception as error:
            return _not_proved(f"the unpruned model does not generate without a cache ({_short(error)})")
        try:
            found, _ = self._pruned(replace(self.cut, choose=_repeating(chosen), settled=True), use_cache=False)
        except TokpruneError as error:  # such as a placeholder among the new tokens, which counts as one of an image's
            return _not_proved(f"with this policy the model does not generate without a cache ({_short(error)})")
        noise = max(difference for _, difference in _differences(plain, whole))
        for step, difference in _differences(cached, found):
            if difference > max(10 * noise, _rounding(self.model, cached)):
                raise TokpruneError(
                    f"pruned generation with a cache is not that without one: the logits of new token {step + 1} "
                    f"differ by up to {difference:.3g} (without pruning by {noise:.3g}). A step sees other tokens than "
                    "those that the prompt kept"
                )

    def _pruned(self, cut: Cut, **options: Any) -> tuple[Written, list[Observed]]:
        """What the model generates with `cut` on it, and what was observed."""
        seen: list[Observed] = []
        attachment = self.bound.attach(cut, seen.append, self.owner)
        self.shortened = getattr(attachment, "shortened", None)
        try:
            written = self._write(**options)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            if isinstance(error, UnsupportedCallError) and not seen:
                raise  # before anything was pruned: a limit that is known
            raise TokpruneError(f"pruned generation failed where the unpruned one works: {_short(error)}") from error
        finally:
            attachment.remove()
        if not seen:
            raise TokpruneError("the cut was never reached in generate, though it is in a forward")
        return written, seen

    @torch.no_grad()
    def _write(self, **options: Any) -> Written:
        forget_compiled()
        # Copies, for BLIP writes into the ids it is given.
        prompt = {name: value.clone() if isinstance(value, Tensor) else value for name, value in self.prompt.items()}
        output = self.model.generate(
            **prompt,
            do_sample=False,
            num_beams=1,
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
            **options,
        )
        sequences = output if isinstance(output, Tensor) else output["sequences"]
        return Written(sequences, getattr(output, "logits", None) or (), cache_lengths(cache_of(output)))


def noting(cut: Cut, chosen: list[Choice]) -> Any:
    """What chooses as `cut` does, and notes what was kept."""

    def choose(signal: Signal, keep: Keep | None = None) -> Choice:
        choice = cut.choose(signal) if keep is None else cut.choose(signal, keep)
        chosen.append(choice)
        return choice

    return choose


def _repeating(chosen: Sequence[Choice]) -> Any:
    """What keeps those tokens again and again, so that a step without a cache keeps what the prompt kept."""
    asked = 0

    def choose(signal: Signal, keep: Keep | None = None) -> Choice:
        nonlocal asked
        asked += 1
        return chosen[(asked - 1) % len(chosen)]

    return choose


def _differences(one: Written, other: Written) -> list[tuple[int, float]]:
    """How far the logits of each new token are from each other; no further than rows chose the same tokens."""
    found, alive = [], torch.ones(len(one.logits[0]), dtype=torch.bool)
    for step, (left, right) in enumerate(zip(one.logits, other.logits, strict=False)):
        apart = (left.float() - right.float()).abs().nan_to_num(0.0).amax(dim=-1).cpu()
        found.append((step, float(apart[alive].max()) if bool(alive.any()) else 0.0))
        alive &= (left.argmax(dim=-1) == right.argmax(dim=-1)).cpu()  # a near tie, or the difference would be seen
    return found


def _rounding(model: nn.Module, written: Written) -> float:
    """How far logits may be from each other by rounding alone: `generate` gives them in float32, whatever made them."""
    logits = torch.stack(list(written.logits))
    kind = logits.device.type
    used = {weight.dtype for weight in model.parameters()}
    if torch.is_autocast_enabled(kind):
        used.add(torch.get_autocast_dtype(kind))
    half = [torch.finfo(dtype).eps for dtype in (torch.bfloat16, torch.float16) if dtype in used]
    unit = 16 * max(half) if half else 64 * torch.finfo(logits.dtype).eps
    return unit * float(logits[logits.isfinite()].float().abs().max())


def _not_proved(reason: str) -> None:
    warnings.warn(f"handle.check did not prove all that it can of generation: {reason}", stacklevel=6)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def generates(model: nn.Module) -> bool:
    """Whether a model can be asked to generate."""
    return callable(getattr(model, "generate", None))
