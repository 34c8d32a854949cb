"""Max-min diversity: by hand, against the textbook, and the bound that the literature proves."""

import math
from itertools import combinations

import diversity_textbook as textbook
import pytest
import torch
from diversity_select import kept_mask, kept_of, order_of
from hypothesis import given, settings
from hypothesis import strategies as st

import tokprune


@st.composite
def images(draw, tokens=6, dim=3):
    """Whole numbers in few dimensions: duplicates, parallels, opposites and zero vectors come up all the time."""
    width = draw(st.integers(1, dim))
    vector = st.lists(st.integers(-3, 3), min_size=width, max_size=width)
    vectors = draw(st.lists(vector, min_size=1, max_size=tokens))
    return vectors, draw(st.lists(st.integers(-2, 2), min_size=len(vectors), max_size=len(vectors)))


def on_circle(*degrees):
    return [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees]


CIRCLE = on_circle(0, 10, 60, 75, 160, 250)
"""Nearest neighbours are 10, 10, 15, 15, 85 and 90 degrees away; the two farthest apart are 75 and 250, 175 degrees."""


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        ("divprune", [5, 3, 4, 0, 2, 1]),  # 250; 75 (175 off); 160 (85 off); 0 (75 off); 2 (15 off); 1
        ("divprune:start=pair", [3, 5, 4, 0, 2, 1]),  # 75 and 250, the higher score first
        ("divprune:start=best", [1, 4, 5, 3, 2, 0]),  # 10; 160 (150 off); 250 (90); 75 (65); 60 (15); 0
    ],
)
def test_by_hand_on_a_circle(spec, order):
    scores = [0.0, 5.0, 1.0, 4.0, 2.0, 3.0]
    assert order_of(spec, CIRCLE, scores) == order


def test_the_pair_comes_together():
    assert kept_of("divprune:start=pair", CIRCLE, [0.0] * 6, 2) == [3, 5]


def test_ties_go_to_the_higher_score_and_then_to_the_lower_index():
    square = on_circle(0, 90, 180, 270)
    for spec in ("divprune", "divprune:start=pair", "divprune:start=best", "divprune:centre=True"):
        assert order_of(spec, square, [0.0, 0.0, 0.0, 0.0]) == [0, 2, 1, 3]
        assert order_of(spec, square, [0.0, 1.0, 0.0, 0.0]) == [1, 3, 0, 2]
        assert order_of(spec, square, [0.0, 1.0, 2.0, 2.0]) == [2, 0, 3, 1]


def test_scores_decide_nothing_but_ties():
    """The start may be one: two tokens that are each other's nearest, or farthest, are equally isolated."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(16, 20, 6, generator=generator)
    some, other = torch.rand(16, 20, generator=generator), torch.rand(16, 20, generator=generator)
    for spec in ("divprune", "divprune:start=pair", "divprune:centre=True"):
        begun = 2 if spec == "divprune:start=pair" else 1
        same = (kept_mask(spec, tokens, some, begun) == kept_mask(spec, tokens, other, begun)).all(dim=1)
        assert same.sum() >= 6
        for count in range(begun, 20):
            kept, again = kept_mask(spec, tokens, some, count), kept_mask(spec, tokens, other, count)
            assert torch.equal(kept[same], again[same])


def test_the_best_start_keeps_the_best():
    generator = torch.Generator().manual_seed(0)
    tokens, scores = torch.randn(4, 20, 6, generator=generator), torch.rand(4, 20, generator=generator)
    kept = kept_mask("divprune:start=best", tokens, scores, 1)
    assert torch.equal(kept, tokprune.functional.top_k(scores, 1))


@pytest.mark.parametrize("start", ["isolated", "pair", "best"])
@pytest.mark.parametrize("centre", [False, True])
@given(image=images())
@settings(max_examples=40, deadline=None)
def test_it_is_the_textbook_algorithm(start, centre, image):
    tokens, scores = image
    expected = textbook.divprune(tokens, scores, len(tokens), start, centre)
    assert order_of(f"divprune:start={start},centre={centre}", tokens, scores) == expected


@pytest.mark.parametrize("start", ["isolated", "pair", "best"])
def test_it_is_the_textbook_algorithm_on_ordinary_numbers(start):
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        tokens, scores = torch.randn(14, 5, generator=generator).tolist(), torch.rand(14, generator=generator).tolist()
        assert order_of(f"divprune:start={start}", tokens, scores) == textbook.divprune(tokens, scores, 14, start)


@pytest.mark.parametrize("start", ["isolated", "pair", "best"])
@given(image=images(tokens=7), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_least_distance_is_at_least_half_of_the_best_that_there_is(start, image, data):
    """Over all choices of as many tokens: half in lengths and in angles, a quarter in cosine distances."""
    tokens = [token for token in image[0] if any(token)] or [[1]]
    count = data.draw(st.integers(1, len(tokens)))
    kept = kept_of(f"divprune:start={start}", tokens, [0.0] * len(tokens), count)
    if count == 1:
        return
    cosines = [[float(textbook.distance(a, b)) for b in tokens] for a in tokens]
    lengths = [[math.sqrt(2 * d) for d in row] for row in cosines]
    angles = [[math.acos(max(-1.0, 1 - d)) for d in row] for row in cosines]
    for table, share in ((lengths, 2), (angles, 2), (cosines, 4)):
        best = max(textbook.spread(table, some) for some in combinations(range(len(tokens)), count))
        assert textbook.spread(table, kept) >= best / share - 1e-6


def test_the_bound_is_not_met_by_chance():
    """Keeping the first tokens breaks it, so the property above can fail."""
    tokens = on_circle(0, 1, 2, 120, 240)
    table = [[float(textbook.distance(a, b)) for b in tokens] for a in tokens]
    best = max(textbook.spread(table, some) for some in combinations(range(5), 3))
    assert textbook.spread(table, [0, 1, 2]) < best / 4
    assert textbook.spread(table, kept_of("divprune", tokens, [0.0] * 5, 3)) > 0.97 * best


@given(image=images(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_no_duplicate_is_kept_while_another_token_is_left(image, data):
    tokens, scores = image
    directions = {tuple(x / (math.hypot(*token) or 1) for x in token) for token in tokens}
    distinct = len({tuple(round(x, 9) + 0.0 for x in direction) for direction in directions})
    kept = kept_of("divprune", tokens, scores, distinct)
    found = {tuple(round(x / (math.hypot(*tokens[i]) or 1), 9) + 0.0 for x in tokens[i]) for i in kept}
    assert len(found) == distinct


@given(image=images(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_only_directions_count(image, data):
    """However far apart the norms are."""
    tokens, scores = image
    factors = data.draw(st.lists(st.integers(-500, 500), min_size=len(tokens), max_size=len(tokens)))
    scaled = [[x * 2.0**f for x in token] for token, f in zip(tokens, factors, strict=True)]
    assert order_of("divprune", torch.tensor(scaled, dtype=torch.float64), scores) == order_of(
        "divprune", tokens, scores
    )


@given(image=images(), shift=st.lists(st.integers(-9, 9), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_centred_tokens_may_be_moved_together(image, shift):
    tokens, scores = image
    moved = [[x + s for x, s in zip(token, shift, strict=False)] for token in tokens]
    assert order_of("divprune:centre=True", moved, scores) == order_of("divprune:centre=True", tokens, scores)


def test_centring_can_change_the_choice():
    tokens = [[10.0, 1.0], [11.0, 1.0], [10.0, 2.0], [8.0, 1.0], [10.0, 0.0]]
    assert kept_of("divprune", tokens, [0.0] * 5, 2) != kept_of("divprune:centre=True", tokens, [0.0] * 5, 2)


def test_a_token_at_the_mean_has_no_direction():
    """Its distance from the mean is rounding; it comes last, as a zero vector does."""
    for token in cross_around(1):
        assert order_of("divprune:centre=True,start=best", token, [0.0, 4.0, 3.0, 2.0, 1.0]) == [1, 2, 3, 4, 0]


def cross_around(seed):
    """Images of five tokens: a middle that is no short number, and two steps from it in two directions."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(12):
        middle = torch.randn(4, generator=generator, dtype=torch.float64)
        one, other = torch.tensor([[0.5, 0, 0, 0], [0, 0, 0.25, 0]], dtype=torch.float64)
        yield torch.stack([middle, middle + one, middle - one, middle + other, middle - other])


def test_a_zero_vector_stands_in_the_centre_of_the_sphere():
    """Half from every direction, nothing from another zero vector."""
    tokens = [[0.0, 0.0], [1.0, 0.0], [0.9, 0.1], [0.0, 0.0]]
    assert order_of("divprune:start=best", tokens, [0.0, 1.0, 0.0, 0.0]) == [1, 0, 2, 3]


def test_huge_norms_do_not_hide_directions():
    tokens = torch.tensor(CIRCLE)
    for scale in (3e38, 1e-38):
        assert order_of("divprune", tokens * scale, [0.0, 5.0, 1.0, 4.0, 2.0, 3.0]) == [5, 3, 4, 0, 2, 1]
    half = (tokens * 60000).half()
    assert order_of("divprune", half, [0.0, 5.0, 1.0, 4.0, 2.0, 3.0]) == [5, 3, 4, 0, 2, 1]


def test_each_image_has_its_own_choice():
    tokens = torch.tensor([on_circle(0, 10, 60, 75, 160, 250), on_circle(250, 160, 75, 60, 10, 0)])
    kept = kept_mask("divprune", tokens, torch.zeros(2, 6), 3)
    assert kept.tolist() == [[False, False, False, True, True, True], [True, True, True, False, False, False]]
