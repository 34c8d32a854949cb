"""Votes of a self-attention in which others stand behind the candidates, some of them padding."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from tokprune import Votes
from tokprune.adapters import AttentionSource
from tokprune.adapters.tap import Seen

HEADS = st.integers(1, 2)
LAYERS = st.tuples(st.integers(1, 2), HEADS, st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**31))


def source(heads, leading):
    """A layer whose first `leading` tokens are the candidates."""
    return AttentionSource("self_attention", 0, (), heads, 0.5, candidates="key", leading=leading)


@st.composite
def layers(draw):
    """A source, queries and keys of whole numbers `[image head token dim]`, and which tokens are no padding."""
    images, heads, leading, others, seed = draw(LAYERS)
    generator = torch.Generator().manual_seed(seed)
    query, key = (
        torch.randint(-3, 4, (images, heads, leading + others, 2), generator=generator).float() for _ in range(2)
    )
    real = torch.tensor([[True] * leading + [draw(st.booleans()) for _ in range(others)] for _ in range(images)])
    return source(heads, leading), {"query": query, "key": key}, real


def ballots(given_source, halves, real, image):
    """How each real token of one image votes for the candidates, by numpy, without the padding: `[voter token]`."""
    keep = real[image].numpy()
    query, key = (halves[side][image].double().numpy()[:, keep] for side in ("query", "key"))
    powers = np.exp(given_source.scale * np.einsum("hqd,hkd->hqk", query, key))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    return shares[:, :, : given_source.leading].reshape(-1, given_source.leading)


def votes_of(given_source, halves, real=None):
    """The votes of a layer that sees these queries and keys; a mask hides what is not real."""
    mask = None if real is None else real[:, None, None, :]
    return given_source.votes(Seen(halves["query"], halves["key"], halves["key"], mask, given_source.scale))


@given(layer=layers())
def test_points_are_those_of_the_real_voters_alone(layer):
    given_source, halves, real = layer
    found = votes_of(given_source, halves, real).points()
    for image in range(len(real)):
        # Logits are halves of whole numbers: what is equal differs by rounding alone, and all else by a half or more.
        cast = np.log(ballots(given_source, halves, real, image)).round(3)
        expected = (rankdata(cast, method="average", axis=-1) - 1).sum(axis=0)
        np.testing.assert_array_equal(found[image].numpy(), expected)


@given(layer=layers())
def test_totals_are_those_of_the_real_voters_alone(layer):
    given_source, halves, real = layer
    found = votes_of(given_source, halves, real).total()
    for image in range(len(real)):
        expected = ballots(given_source, halves, real, image).sum(axis=0)
        np.testing.assert_allclose(found[image].numpy(), expected, rtol=1e-5)


@given(layer=layers())
def test_votes_read_as_numbers_are_counted_alike(layer):
    votes = votes_of(*layer)
    assert votes.values.shape == votes.shape
    assert torch.equal(votes.by_head.flatten(1, 2), votes.values)
    numbers = Votes(votes.values, votes.weights, heads=votes.heads)
    assert torch.equal(numbers.points(), votes.points())
    assert torch.allclose(numbers.total(), votes.total(), rtol=1e-6)


@given(layer=layers())
def test_real_voters_hand_out_all_their_points_and_padding_none(layer):
    given_source, halves, real = layer
    tokens = given_source.leading
    voters = real.sum(dim=1) * given_source.heads
    found = votes_of(given_source, halves, real).points().sum(dim=1)
    assert found.tolist() == (voters * tokens * (tokens - 1) / 2).tolist()


@given(layer=layers())
def test_padding_has_no_vote_whatever_its_weight(layer):
    given_source, halves, real = layer
    votes = votes_of(given_source, halves, real).with_weights(None)
    shifted = real.roll(-given_source.leading, dims=1)
    by_head = votes.by_head
    for image, head, voter in np.ndindex(*by_head.shape[:3]):
        assert bool(by_head[image, head, voter].any()) == bool(shifted[image, voter])


@given(data=st.data(), layer=layers())
def test_the_order_of_the_others_does_not_matter(data, layer):
    given_source, halves, real = layer
    tokens, leading = real.shape[1], given_source.leading
    others = data.draw(st.permutations(range(leading, tokens)))
    order = [*range(leading), *others]
    moved = votes_of(given_source, {side: half[:, :, order] for side, half in halves.items()}, real[:, order])
    votes = votes_of(given_source, halves, real)
    assert torch.equal(moved.points(), votes.points())
    assert torch.allclose(moved.total(), votes.total(), rtol=1e-6)


@given(data=st.data(), layer=layers())
def test_candidates_in_another_order_get_the_same_points(data, layer):
    given_source, halves, real = layer
    leading = given_source.leading
    candidates = data.draw(st.permutations(range(leading)))
    order = [*candidates, *range(leading, real.shape[1])]
    moved = votes_of(given_source, {side: half[:, :, order] for side, half in halves.items()}, real[:, order])
    assert torch.equal(moved.points(), votes_of(given_source, halves, real).points()[:, list(candidates)])


@given(layer=layers())
def test_all_real_is_the_same_as_nothing_said(layer):
    given_source, halves, real = layer
    said, silent = votes_of(given_source, halves, torch.ones_like(real)), votes_of(given_source, halves)
    assert torch.equal(said.points(), silent.points())
    assert torch.equal(said.values, silent.values)


@pytest.mark.parametrize("what", ["padding", "the others"])
def test_others_can_change_the_points(what):
    """Without this, the laws above could hold because nothing ever counts."""

    def differs(layer):
        given_source, halves, real = layer
        points = votes_of(given_source, halves, real).points()
        leading = given_source.leading
        if what == "padding":
            without = votes_of(given_source, halves).points()
        else:
            front = {side: half[:, :, :leading] for side, half in halves.items()}
            without = votes_of(given_source, front).points()
        return not torch.equal(points.argsort(dim=1, descending=True), without.argsort(dim=1, descending=True))

    hypothesis.find(layers(), differs)
