"""One election: signal -> votes -> scores -> kept, by a policy, with every step checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.policy import Policy
from tokprune.signal import Signal
from tokprune.votes import Votes


def hold_election(policy: Policy, signal: Signal) -> tuple[Tensor, Tensor]:
    """Kept tokens (bool) and their scores (float), both `[batch token]`.

    Raises:
        InvalidValueError: a component returned something unusable; the message names it.
    """
    wants = getattr(policy.selector, "wants", ())
    with torch.no_grad():
        votes: Iterable[Votes] = policy.scorer(signal)
        if "votes" in wants:
            votes = list(votes)
        scores = policy.aggregator(votes)
        _check(scores, signal, f"aggregator {policy.aggregator!r}", "float", torch.is_floating_point)
        extra: dict[str, Any] = {name: votes if name == "votes" else getattr(signal, name) for name in wants}
        kept = policy.selector(scores, policy.keep, **extra)
        _check(kept, signal, f"selector {policy.selector!r}", "bool", lambda t: t.dtype == torch.bool)
        if not getattr(policy.selector, "uniform", False) and not bool(kept.any(dim=1).all()):
            raise InvalidValueError(f"selector {policy.selector!r} kept no token at all of some image")
    return kept, scores


def _check(tensor: Any, signal: Signal, where: str, kind: str, fits: Any) -> None:
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != signal.shape or not fits(tensor):
        got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InvalidValueError(f"{where} must return a {kind} tensor [batch token] = {signal.shape}, got {got}")
