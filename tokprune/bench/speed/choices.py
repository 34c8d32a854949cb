"""What a pruned call chose, step by step, put down so that an oracle can be handed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.apply import apply
from tokprune.bench.oracle import EncoderCut, Gift, encode, kept_rows, prompt_embeddings, take_rows
from tokprune.defaults import with_defaults
from tokprune.errors import InvalidValueError
from tokprune.policy import Policy
from tokprune.report import Report


class Recorder:
    """A selector that does what another one does, and remembers what it chose."""

    def __init__(self, selector: Any) -> None:
        self.selector = selector
        self.uniform = getattr(selector, "uniform", False)
        self.wants = getattr(selector, "wants", ())
        self.makes_groups = getattr(selector, "makes_groups", False)
        self.chosen: list[Tensor] = []

    def __call__(self, scores: Tensor, keep: Any, **extra: Any) -> Tensor:
        """Kept, bool `[batch token]`."""
        kept: Tensor = self.selector(scores, keep, **extra)
        self.chosen.append(kept)
        return kept

    def __repr__(self) -> str:
        return repr(self.selector)


class ReductionRecorder:
    """A reduction that does what another one does, and remembers the signals that it was given."""

    def __init__(self, reduction: Any) -> None:
        self.reduction = reduction
        self.removes = reduction.removes
        self.reads_tokens = reduction.reads_tokens
        self.wants = getattr(reduction, "wants", ())
        self.layers_read = getattr(reduction, "layers_read", {})
        self.conserves = getattr(reduction, "conserves", True)
        self.given: list[dict[str, Any]] = []

    def __call__(
        self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None, **extra: Any
    ) -> tuple[Tensor, Tensor]:
        """Tokens `[batch token dim]` and sizes `[batch token]`."""
        self.given.append(extra)
        reduced: tuple[Tensor, Tensor] = self.reduction(tokens, kept, sizes, **extra)
        return reduced

    def __repr__(self) -> str:
        return repr(self.reduction)


@dataclass(frozen=True, eq=False)
class Choice:
    """What one policy did in one call."""

    policy: Policy
    report: Report
    steps: tuple[Tensor, ...]
    """What was kept at each cut, bool `[image token]`; a later one is about the tokens that the earlier ones kept."""
    given: tuple[Mapping[str, Any], ...] = ()
    """The signals that the reduction wanted, each time it was called."""

    def reduced(self, time: int, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the policy's reduction makes of these tokens the `time`-th time it is called."""
        result: tuple[Tensor, Tensor] = self.policy.reduction(tokens, kept, sizes, **self.given[time])
        return result


def recorded(
    model: nn.Module, policies: Sequence[Policy], call: Callable[[], Tensor]
) -> tuple[Tensor, dict[str, Choice], list[int]]:
    """Calls once with the policies on the model.

    Returns:
        What `call` gave; target -> what was chosen; after how many layers of the image encoder its sequence became
        shorter.

    Raises:
        AdapterError: A policy does not fit the model.
        InvalidValueError: Nothing was pruned.
    """
    policies = [with_defaults(model, policy) for policy in policies]
    recorders = [(Recorder(policy.selector), ReductionRecorder(policy.reduction)) for policy in policies]
    lengths: dict[int, int] = {}
    with apply(model, [_with(*pair) for pair in zip(policies, recorders, strict=True)]) as handles:
        # Behind the cut's own hooks, so that they see what is left.
        hooks = _watch_lengths(model, lengths)
        try:
            result = call()
        finally:
            for hook in hooks:
                hook.remove()
        choices: dict[str, Choice] = {}
        for handle, policy, (selector, reduction) in zip(handles, policies, recorders, strict=True):
            if handle.report is None:
                raise InvalidValueError("speed: nothing was pruned; is the model compiled?")
            steps, given = tuple(selector.chosen), tuple(reduction.given)
            choices[handle.target] = Choice(policy, handle.report, steps, given)
    return result, choices, [place for place in lengths if place and lengths[place] < lengths[place - 1]]


def _with(policy: Policy, recorders: tuple[Recorder, ReductionRecorder]) -> Policy:
    parts = {name: getattr(policy, name) for name in Policy.__dataclass_fields__}
    return Policy(**parts | dict(zip(("selector", "reduction"), recorders, strict=True)))


def _watch_lengths(model: Any, lengths: dict[int, int]) -> list[Any]:
    if not hasattr(model, "qformer"):
        return []  # nothing that is known here leaves inside the encoder
    encoder = model.vision_model

    def watch(place: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(module: nn.Module, args: tuple[Any, ...]) -> None:
            lengths.setdefault(place, args[0].shape[1])

        return note

    readers = [*encoder.encoder.layers, encoder.post_layernorm]
    return [module.register_forward_pre_hook(watch(place)) for place, module in enumerate(readers)]


def gift_of(model: Any, inputs: Mapping[str, Tensor], choices: Mapping[str, Choice], places: Sequence[int]) -> Gift:
    """What the oracle is handed: rows where tokens were pruned, the tokens themselves where they were merged.

    Merging is done once more here, by hand, so that the oracle's answer checks it.

    Args:
        model: A BLIP-2 or an InstructBLIP without a cut.
        inputs: What its `generate` takes.
        choices: Target -> what was chosen, of `recorded`.
        places: After how many layers the encoder's sequence became shorter, of `recorded`.

    Raises:
        InvalidValueError: A policy hides tokens instead of removing them, or samples keep different numbers.
    """
    check_removes(choices)
    with torch.no_grad():
        cuts = _encoder_cuts(model, inputs["pixel_values"], choices["image"], places) if "image" in choices else ()
        query = choices.get("query")
        if query is None:
            return Gift(cuts=cuts)
        ids = inputs["input_ids"]
        rows = kept_rows(ids, query.report.kept, model.config.image_token_id)
        prefix = _merged_prefix(model, inputs, query, cuts) if query.policy.reduction.reads_tokens else None
        return Gift(rows, query.policy.positions, cuts, prefix)


def check_removes(choices: Mapping[str, Choice]) -> None:
    """Raises `InvalidValueError` for a policy without an oracle: it hides tokens, or weighs them."""
    for choice in choices.values():
        if not choice.policy.reduction.removes:
            raise InvalidValueError(
                f"oracle: {choice.policy} hides tokens and makes nothing shorter; use reduction 'prune' or 'merge'"
            )
        if choice.policy.attention == "proportional":
            raise InvalidValueError(
                f"oracle: {choice.policy} weighs merged tokens, and the oracle is handed tokens without weights; take "
                "attention='plain' to measure it"
            )


def _encoder_cuts(model: Any, pixels: Tensor, choice: Choice, places: Sequence[int]) -> tuple[EncoderCut, ...]:
    steps = [kept for kept in choice.steps if not bool(kept.all())]
    if len(steps) != len(places):
        raise InvalidValueError(f"oracle: tokens were chosen {len(steps)} times but left at {len(places)} places")
    encoder = model.vision_model
    hidden, sizes = encoder.embeddings(pixels), None
    cuts: list[EncoderCut] = []
    for number, layer in enumerate(encoder.encoder.layers, start=1):
        hidden = layer(hidden)
        if number not in places:
            continue
        kept = steps[len(cuts)].to(hidden.device)
        protected = hidden.shape[1] - kept.shape[1]
        stays = torch.cat([kept.new_ones(len(kept), protected), kept], dim=1)
        rows = stays.nonzero()[:, 1].view(len(kept), -1)
        if choice.policy.reduction.reads_tokens:
            tokens, sizes = choice.reduced(len(cuts), hidden[:, protected:], kept, sizes)
            sizes = sizes[kept].view(len(kept), -1)
            hidden = take_rows(torch.cat([hidden[:, :protected], tokens], dim=1), rows)
            cuts.append(EncoderCut(number, rows, hidden))
        else:
            hidden = take_rows(hidden, rows)
            cuts.append(EncoderCut(number, rows))
    return tuple(cuts)


def _merged_prefix(model: Any, inputs: Mapping[str, Tensor], choice: Choice, cuts: Sequence[EncoderCut]) -> Tensor:
    ids = inputs["input_ids"]
    embeddings = prompt_embeddings(model, inputs, encode(model, inputs["pixel_values"], cuts))
    kept = choice.report.kept
    tokens = embeddings[ids == model.config.image_token_id].view(*kept.shape, -1)
    merged, _ = choice.reduced(0, tokens, kept)
    return merged[kept].view(len(kept), -1, tokens.shape[-1])
