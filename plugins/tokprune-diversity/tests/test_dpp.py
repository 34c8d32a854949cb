"""The determinantal point process: by hand, against exact fractions, against every determinant there is."""

import math

import diversity_textbook as textbook
import numpy as np
import pytest
import torch
from diversity_select import create, kept_mask, kept_of, order_of
from hypothesis import given, settings
from hypothesis import strategies as st

import tokprune


@st.composite
def images(draw, tokens=6, dim=3, largest=3):
    """Whole numbers in few dimensions: ranks are exhausted, duplicates and zero vectors come up all the time."""
    width = draw(st.integers(1, dim))
    vector = st.lists(st.integers(-largest, largest), min_size=width, max_size=width)
    vectors = draw(st.lists(vector, min_size=1, max_size=tokens))
    return vectors, draw(st.lists(st.integers(-2, 2), min_size=len(vectors), max_size=len(vectors)))


def plain(**options):
    """The selector's text with every option given."""
    options = {"quality": 0.0, "centre": False, "similarity": "cosine", "form": "exponential"} | options
    return "dpp:" + ",".join(f"{name}={value}" for name, value in options.items()), options


def test_the_default_is_the_kernel_of_cdpruner():
    assert create("dpp") == create(plain(quality=0.5, form="linear")[0])
    assert textbook.dpp([[1.0], [2.0]], [0, 1], 2) == order_of("dpp", [[1.0], [2.0]], [0.0, 1.0]) == [1, 0]


def test_by_hand():
    """Angles of 0, 30, 90 and 110 degrees: sin(110)^2 = 0.88, so 0 goes with 90; the plane is then full."""
    tokens = [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in (0, 30, 90, 110)]
    spec, _ = plain()
    assert order_of(spec, tokens, [3.0, 2.0, 1.0, 0.0]) == [0, 2, 1, 3]
    assert order_of(spec, tokens, [0.0, 3.0, 1.0, 2.0]) == [1, 3, 2, 0]  # 30 goes with 110: sin(80)^2 = 0.97


def test_by_hand_with_lengths():
    """The dot product: 3 along x, then what is left beside it, 1 of (2, 1) and 2 of (0, 2)."""
    spec, _ = plain(similarity="dot")
    tokens = [[2.0, 1.0], [0.0, 2.0], [3.0, 0.0]]
    assert order_of(spec, tokens, [9.0, 0.0, 0.0]) == [2, 1, 0]
    assert kept_of(plain()[0], tokens, [9.0, 0.0, 0.0], 1) == [0]  # all of length 1: the best score starts


def test_by_hand_with_scores():
    """CDPruner's kernel: q = 1, 1/2, 0 and S = [[1, .6, 0], [.6, 1, .8], [0, .8, 1]]: 1, then .64 / 4 beats 1 * 0."""
    tokens, scores = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [5.0, 3.0, 1.0]
    assert order_of(plain(quality=0.5, form="linear")[0], tokens, scores) == [0, 1, 2]
    assert order_of(plain()[0], tokens, scores) == [0, 2, 1]  # without scores 1 beats .64
    # exponential, w = 1: e^.5 * .64 = 1.06 beats 1; w = 1/9: e^.06 * .64 does not
    assert order_of(plain(quality=0.5)[0], tokens, scores) == [0, 1, 2]
    assert order_of(plain(quality=0.1)[0], tokens, scores) == [0, 2, 1]
    # w = 1/3: e^(1/6) * .64 = 0.76 does not; w = 0.85: e^.425 * .64 = 0.98 does not; w = 0.95: 1.03 does
    assert order_of(plain(quality=0.85 / 1.85)[0], tokens, scores) == [0, 2, 1]
    assert order_of(plain(quality=0.95 / 1.95)[0], tokens, scores) == [0, 1, 2]
    # linear, w = 0.3: (1/2)^.6 * .64 = 0.42 against 1 * 10^-3.6
    assert order_of(plain(quality=0.3 / 1.3, form="linear")[0], tokens, scores) == [0, 1, 2]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"similarity": "dot"},
        {"quality": 0.5},
        {"quality": 0.5, "form": "linear"},
        {"quality": 0.9, "similarity": "dot"},
        {"quality": 0.25, "form": "linear", "similarity": "dot"},
    ],
    ids=str,
)
@given(image=images())
@settings(max_examples=40, deadline=None)
def test_it_is_gram_schmidt_in_fractions(options, image):
    spec, every = plain(**options)
    tokens, scores = image
    assert order_of(spec, tokens, scores) == textbook.dpp(tokens, scores, len(tokens), **every)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@given(image=images(tokens=4, dim=2, largest=2))
@settings(max_examples=40, deadline=None)
def test_it_is_gram_schmidt_of_centred_tokens(similarity, image):
    spec, every = plain(similarity=similarity, centre=True)
    tokens, scores = image
    assert order_of(spec, tokens, scores) == textbook.dpp(tokens, scores, len(tokens), **every)


@pytest.mark.parametrize("options", [{}, {"similarity": "dot"}, {"quality": 0.5}, {"quality": 0.6, "form": "linear"}])
@pytest.mark.parametrize("dim", [4, 30])
def test_no_other_token_would_give_a_larger_determinant(options, dim):
    """Every step, with every other token in its place; the kernel is built by numpy."""
    generator = torch.Generator().manual_seed(dim)
    spec, every = plain(**options)
    for _ in range(3):
        tokens = torch.randn(12, dim, generator=generator)
        scores = torch.rand(12, generator=generator)
        kernel = kernel_of(tokens.double().numpy(), scores.double().numpy(), every)
        order = order_of(spec, tokens, scores)
        for step in range(min(dim, 12)):
            volumes = [np.linalg.det(kernel[np.ix_([*order[:step], i], [*order[:step], i])]) for i in range(12)]
            assert volumes[order[step]] > 0
            assert volumes[order[step]] >= max(v for i, v in enumerate(volumes) if i not in order[:step]) * (1 - 1e-6)


def kernel_of(tokens, scores, options):
    if options["similarity"] == "cosine":
        tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    weight = options["quality"] / (1 - options["quality"])
    if options["form"] == "exponential":
        quality = np.exp(weight * relevance / 2)
    else:
        quality = np.maximum(relevance, 1e-6) ** weight
    return quality[:, None] * (tokens @ tokens.T) * quality


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_rest_is_filled_up_by_score(centre, similarity):
    generator = torch.Generator().manual_seed(5)
    for dim in (1, 2, 5):
        tokens = torch.randn(16, dim, generator=generator) * 100
        scores = torch.rand(16, generator=generator)
        order = order_of(plain(centre=centre, similarity=similarity)[0], tokens, scores)
        assert torch.linalg.matrix_rank(tokens[order[:dim]]) == dim
        rest = scores[order[dim:]]
        assert torch.equal(rest, rest.sort(descending=True).values)


def test_the_rest_is_filled_up_by_index_among_equal_scores():
    tokens = [[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [1.0, -1.0], [3.0, 3.0]]
    for spec in (plain()[0], plain(quality=0.5)[0], plain(quality=0.5, form="linear")[0]):
        assert order_of(spec, tokens, [0.0] * 5) == [0, 3, 1, 2, 4]


def test_tokens_alike_to_the_last_digits_count_as_duplicates():
    generator = torch.Generator().manual_seed(5)
    token = torch.randn(1, 8, generator=generator)
    noise = 1e-6 * torch.randn(6, 8, generator=generator)
    tokens = torch.cat([token + noise, torch.eye(8)[:2]])
    order = order_of(plain()[0], tokens, [5.0, 6.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0])
    assert set(order[:3]) == {1, 6, 7}
    assert order[3:] == [0, 4, 3, 2, 5]


@pytest.mark.parametrize("form", ["exponential", "linear"])
@given(image=images(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_equal_scores_are_no_scores(form, image, data):
    tokens, _ = image
    same = [float(data.draw(st.integers(-2, 2)))] * len(tokens)
    assert order_of(plain(quality=0.7, form=form)[0], tokens, same) == order_of(plain()[0], tokens, same)


@pytest.mark.parametrize("form", ["exponential", "linear"])
def test_the_unit_of_the_scores_does_not_matter(form):
    generator = torch.Generator().manual_seed(6)
    tokens = torch.randn(2, 20, 8, generator=generator)
    scores = torch.randint(-8, 8, (2, 20), generator=generator).float()
    spec, _ = plain(quality=0.6, form=form)
    for changed in (scores * 4 + 3, scores * 2.0**-30, scores * 2.0**120):
        for count in (1, 3, 8):
            assert torch.equal(kept_mask(spec, tokens, changed, count), kept_mask(spec, tokens, scores, count))


@pytest.mark.parametrize("form", ["exponential", "linear"])
def test_tokens_that_have_nothing_in_common_are_taken_by_score(form):
    scores = torch.rand(3, 9, generator=torch.Generator().manual_seed(7))
    for quality in (0.0, 0.3, 0.9):
        kept = kept_mask(plain(quality=quality, form=form)[0], torch.eye(9).expand(3, 9, 9), scores, 4)
        assert torch.equal(kept, tokprune.functional.top_k(scores, 4))


def test_the_more_quality_counts_the_nearer_to_top_k():
    generator = torch.Generator().manual_seed(8)
    tokens, scores = torch.randn(1, 32, 64, generator=generator), torch.rand(1, 32, generator=generator)
    best = tokprune.functional.top_k(scores, 8)
    shared = [
        int((kept_mask(plain(quality=quality)[0], tokens, scores, 8) & best).sum())
        for quality in (0.0, 0.3, 0.9, 0.999)
    ]
    assert shared == sorted(shared)
    assert shared[0] < shared[-1] == 8


@given(image=images(), factors=st.lists(st.integers(-500, 500), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_only_directions_count_for_the_cosine(image, factors):
    """However far apart the norms are."""
    tokens, scores = image
    scaled = [[x * 2.0**f for x in token] for token, f in zip(tokens, factors, strict=False)]
    spec, _ = plain()
    assert order_of(spec, torch.tensor(scaled, dtype=torch.float64), scores) == order_of(spec, tokens, scores)


def test_lengths_count_for_the_dot_product():
    tokens = [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]
    assert kept_of(plain(similarity="dot")[0], tokens, [2.0, 1.0, 0.0], 1) == [2]
    assert kept_of(plain()[0], tokens, [2.0, 1.0, 0.0], 1) == [0]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@given(image=images(), shift=st.lists(st.integers(-9, 9), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_centred_tokens_may_be_moved_together(similarity, image, shift):
    tokens, scores = image
    spec, _ = plain(centre=True, similarity=similarity)
    moved = [[x + s for x, s in zip(token, shift, strict=False)] for token in tokens]
    assert order_of(spec, moved, scores) == order_of(spec, tokens, scores)


def test_centring_can_change_the_choice():
    tokens = [[10.0, 1.0], [11.0, 1.0], [10.0, 2.0], [8.0, 1.0], [10.0, 0.0]]
    scores = [4.0, 3.0, 2.0, 1.0, 0.0]
    assert kept_of(plain()[0], tokens, scores, 2) != kept_of(plain(centre=True)[0], tokens, scores, 2)


def test_a_token_at_the_mean_has_no_direction():
    """Its distance from the mean is rounding, so it is spanned by any tokens, even by none."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        middle = torch.randn(4, generator=generator, dtype=torch.float64)
        one, other = torch.tensor([[0.5, 0, 0, 0], [0, 0, 0.25, 0]], dtype=torch.float64)
        tokens = torch.stack([middle, middle + one, middle - one, middle + other, middle - other])
        assert order_of(plain(centre=True)[0], tokens, [4.0, 3.0, 2.0, 1.0, 0.0]) == [1, 3, 0, 2, 4]


def test_large_images_agree_with_gram_schmidt_in_float64():
    """Hundreds of tokens, half as many kept: rounding does not add up."""
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randn(1, 300, 200, generator=generator) + 3
    for spec, mean in ((plain()[0], 0.0), (plain(centre=True)[0], tokens.double().mean(dim=1))):
        residual = torch.nn.functional.normalize(tokens.double() - mean, dim=-1)[0]
        kept = kept_mask(spec, tokens, torch.zeros(1, 300), 150)[0]
        expected = torch.zeros(300, dtype=torch.bool)
        for step in range(150):
            lengths = residual.norm(dim=1).masked_fill(expected, -1)
            chosen = 0 if step == 0 else lengths.argmax()  # all have length 1 in the beginning
            expected[chosen] = True
            axis = residual[chosen] / residual[chosen].norm()
            residual = residual - (residual @ axis)[:, None] * axis
        assert torch.equal(kept, expected)


def test_each_image_has_its_own_choice():
    tokens = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]])
    kept = kept_mask(plain()[0], tokens, torch.tensor([[2.0, 1.0, 0.0]] * 2), 2)
    assert kept.tolist() == [[True, False, True], [True, True, False]]
    scores = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2000.0, 1000.0]])
    kept = kept_mask(plain(quality=0.5)[0], tokens[:1].expand(2, -1, -1), scores, 2)
    assert torch.equal(kept[0], kept[1])


def test_how_much_counts_as_spanned_is_each_images_own_business():
    """What is left of the last token is 2^-22 of the longest one: little, but not nothing, beside a long one too."""
    tokens = torch.zeros(2, 3, 64)
    tokens[0, :, 0], tokens[0, 2, 1], tokens[1] = 1.0, 2.0**-11, 1.0
    scores = torch.tensor([[2.0, 1.0, 0.0]] * 2)
    for options in ({}, {"similarity": "dot"}):
        kept = kept_mask(plain(**options)[0], tokens, scores, 2)
        assert kept.tolist() == [[True, False, True], [True, True, False]]
