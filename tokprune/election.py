"""One election: signal -> votes -> scores -> kept, by a policy, with every step checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.keep import Keep, keep_count
from tokprune.policy import Policy
from tokprune.signal import Signal
from tokprune.votes import Votes


def hold_election(policy: Policy, signal: Signal, keep: Keep | None = None) -> tuple[Tensor, Tensor]:
    """Kept tokens (bool) and their scores (float), both `[batch token]`.

    Args:
        policy: who scores, adds and selects.
        signal: what was observed.
        keep: what stays, if not the policy's own keep.

    Raises:
        InvalidValueError: a component returned something unusable; the message names it.
    """
    if policy.scorer is None or policy.aggregator is None:
        raise InvalidValueError(
            f"{policy!r} has no scorer yet; tokprune.apply(model, policy) takes the default of the model's adapter"
        )
    wants = getattr(policy.selector, "wants", ())
    with torch.no_grad():
        votes: Iterable[Votes] = policy.scorer(signal)
        if "votes" in wants:
            votes = list(votes)
        scores = policy.aggregator(votes)
        _check(scores, signal, f"aggregator {policy.aggregator!r}", "float", torch.is_floating_point)
        extra = signal.pick(name for name in wants if name != "votes")
        if "votes" in wants:
            extra["votes"] = votes
        kept = policy.selector(scores, policy.keep if keep is None else keep, **extra)
        _check(kept, signal, f"selector {policy.selector!r}", "bool", lambda t: t.dtype == torch.bool)
        _check_counts(policy, kept, keep_count(policy.keep if keep is None else keep, kept.shape[1]))
    return kept, scores


def _check_counts(policy: Policy, kept: Tensor, count: int) -> None:
    if not getattr(policy.selector, "uniform", False):
        if not bool(kept.any(dim=1).all()):
            raise InvalidValueError(f"selector {policy.selector!r} kept no token at all of some image")
    elif kept.device.type == "cpu" and not torch.compiler.is_compiling() and not bool((kept.sum(dim=1) == count).all()):
        # Elsewhere the promise of `uniform` is believed: looking would make the host wait for the device.
        raise InvalidValueError(
            f"selector {policy.selector!r} promises the same number of tokens for every image (`uniform`): expected "
            f"{count} each, got {kept.sum(dim=1).tolist()}"
        )


def _check(tensor: Any, signal: Signal, where: str, kind: str, fits: Any) -> None:
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != signal.shape or not fits(tensor):
        got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InvalidValueError(f"{where} must return a {kind} tensor [batch token] = {signal.shape}, got {got}")
