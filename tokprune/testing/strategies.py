"""Hypothesis strategies: ballots, votes, scores, keeps, signals, tiny models. Only this module imports hypothesis."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tokprune.keep import Keep
from tokprune.signal import Signal
from tokprune.testing.observations import Target, observations
from tokprune.votes import Votes

_FEW = st.integers(1, 2)
_VOTERS = st.integers(1, 4)
_TOKENS = st.integers(1, 5)
_ROWS = st.integers(1, 3)
_COLUMNS = st.integers(1, 12)
_LANGUAGE_MODELS = st.sampled_from(["opt", "t5"])
_IMAGES = st.lists(st.integers(1, 2), min_size=1, max_size=2)


@st.composite
def ballots(
    draw: st.DrawFn,
    batch: st.SearchStrategy[int] = _FEW,
    voters: st.SearchStrategy[int] = _VOTERS,
    tokens: st.SearchStrategy[int] = _TOKENS,
    dtype: torch.dtype = torch.float32,
    ties: bool = True,
) -> Tensor:
    """Votes as a tensor `[batch voter token]`: whole numbers times a power of two, so that sums are exact.

    Args:
        draw: given by hypothesis.
        batch: how many images.
        voters: how many voters.
        tokens: how many tokens.
        dtype: floating type; every number is exact in it.
        ties: whether a ballot may hold equal votes; half-precision attention is full of them.
    """
    count = draw(tokens)
    one = st.permutations(range(count)) if not ties else st.lists(st.integers(-4, 4), min_size=count, max_size=count)
    images, people = draw(batch), draw(voters)
    rows = [[draw(one) for _ in range(people)] for _ in range(images)]
    return torch.tensor(rows, dtype=torch.float32).mul(2.0 ** draw(st.integers(-6, 6))).to(dtype)


@st.composite
def voter_weights(draw: st.DrawFn, batch: int, voters: int) -> Tensor:
    """Weights `[batch voter]`: eighths between 1/8 and 8, so that weighted sums are exact."""
    eighths = st.lists(st.integers(1, 64), min_size=voters, max_size=voters)
    return torch.tensor([draw(eighths) for _ in range(batch)], dtype=torch.float32) / 8


@st.composite
def votes(
    draw: st.DrawFn,
    batch: st.SearchStrategy[int] = _FEW,
    voters: st.SearchStrategy[int] = _VOTERS,
    tokens: st.SearchStrategy[int] = _TOKENS,
    dtype: torch.dtype = torch.float32,
    ties: bool = True,
    weighted: bool | None = None,
) -> Votes:
    """`tokprune.Votes` with such ballots; with weights, without, or (None) either."""
    values = draw(ballots(batch=batch, voters=voters, tokens=tokens, dtype=dtype, ties=ties))
    if weighted is None:
        weighted = draw(st.booleans())
    return Votes(values, draw(voter_weights(*values.shape[:2])) if weighted else None)


@st.composite
def scores(
    draw: st.DrawFn,
    batch: st.SearchStrategy[int] = _ROWS,
    tokens: st.SearchStrategy[int] = _COLUMNS,
    dtype: torch.dtype = torch.float32,
    negative: bool = True,
) -> Tensor:
    """Scores `[batch token]` with ties: whole numbers times a power of two."""
    count = draw(tokens)
    row = st.lists(st.integers(-9 if negative else 0, 9), min_size=count, max_size=count)
    rows = [draw(row) for _ in range(draw(batch))]
    return torch.tensor(rows, dtype=torch.float32).mul(2.0 ** draw(st.integers(-4, 4))).to(dtype)


@st.composite
def tiny_models(
    draw: st.DrawFn,
    kinds: st.SearchStrategy[str] = _LANGUAGE_MODELS,
    images: st.SearchStrategy[list[int]] = _IMAGES,
) -> tuple[Any, dict[str, Tensor]]:
    """A tiny random BLIP-2 in eval mode and the keyword arguments of one forward, labels or decoder ids included.

    Args:
        draw: given by hypothesis.
        kinds: the language model, "opt" or "t5".
        images: how many images each row of the batch has.
    """
    from tokprune.testing.tiny_blip2 import BOS, prompts, tiny_blip2

    kind, counts, seed = draw(kinds), draw(images), draw(st.integers(0, 7))
    pads = [draw(st.integers(0, 4)) for _ in counts]
    inputs = prompts(kind, counts, pads, seed=seed)
    if kind == "t5":
        inputs["decoder_input_ids"] = torch.full((len(counts), 2), BOS)
    return tiny_blip2(kind, seed=seed), inputs


def keeps(tokens: int) -> st.SearchStrategy[Keep]:
    """Everything that `keep` may be where there are `tokens` tokens: ratios in (0, 1] and counts from 1 on."""
    return st.one_of(st.integers(1, tokens), st.floats(0.0, 1.0, exclude_min=True))


def signals(
    needs: tuple[str, ...] = ("tokens", "cross_attention", "self_attention", "encoder_attention", "text"),
    layers: int = 4,
    target: Target = "query",
) -> st.SearchStrategy[Signal]:
    """Signals of models that do not exist, from one image of one token to a few of 32."""
    return st.sampled_from([observed.signal(needs) for observed in observations(layers, target)])
