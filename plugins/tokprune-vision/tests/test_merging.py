"""The reduction `visionzip`: dropped tokens live on in the contextual ones."""

import pytest
import torch
from by_hand import Devices, attention_votes, count_by_hand, fold_by_hand, made, mask_of, scores_by_hand, select_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

import tokprune
from tokprune.testing import check_reduction


def vectors(batch=2, tokens=12, dim=5, seed=7):
    return torch.randn(batch, tokens, dim, generator=torch.Generator().manual_seed(seed))


def some_sizes(batch=2, tokens=12, seed=3):
    return torch.randint(1, 5, (batch, tokens), generator=torch.Generator().manual_seed(seed)).float()


def elected(votes, keep, share=0.15625, scorer="cls-attention"):
    """What scorer and selector keep, by name and as a user combines them."""
    signal = tokprune.Signal(encoder_attention=[votes], shape=(votes.shape[0], votes.shape[2]))
    scores = made("aggregator", "sum")(made("scorer", scorer)(signal))
    return made("selector", f"visionzip:contextual={share}")(scores, keep)


def with_key(votes, key):
    return tokprune.AttentionVotes(votes.query, key, votes.scale, candidates="key", protected=votes.protected)


def test_it_is_installed_under_its_name():
    assert tokprune.list_reductions("visionzip") == ["visionzip"]


@pytest.mark.parametrize("spec", ["visionzip:contextual=0.5,attention=received", "visionzip:fold=add"])
def test_the_laws_of_reductions_hold(spec):
    check_reduction(made("reduction", spec))


def test_the_mean_claims_to_conserve():
    assert made("reduction", "visionzip").conserves


def test_adding_does_not_claim_to_conserve():
    assert not made("reduction", "visionzip:fold=add").conserves
    with pytest.raises(AssertionError, match="Folding conserves"):
        check_reduction(made("reduction", "visionzip:fold=add"), conserves=True)


def test_five_tokens_by_hand():
    """[CLS] likes token 3 best, so of the three kept ones 0 and 4 are contextual; 1 resembles 0 and 2 resembles 4."""
    liked = torch.tensor([0.0, 1.0, 2.0, 9.0, 0.5])
    angle = torch.tensor([0.0, 0.2, 1.4, 0.1, 1.5])
    key = torch.zeros(1, 1, 6, 3)
    key[0, 0, 1:] = torch.stack([angle.cos(), angle.sin(), liked], dim=1)
    key[0, 0, 1:, 2] *= 1e-3  # what [CLS] looks for, too small to matter for the similarity
    query = torch.zeros(1, 1, 6, 3)
    query[0, 0, 0, 2] = 1e3
    votes = tokprune.AttentionVotes(query, key, 1.0, candidates="key", protected=1)
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 4.0], [7.0, 7.0], [0.0, 1.0]]])
    kept = mask_of([[0, 3, 4]], 5)
    sizes = torch.tensor([[1.0, 1.0, 2.0, 5.0, 1.0]])
    merged, after = made("reduction", "visionzip:contextual=0.6")(tokens, kept, sizes, encoder_attention=[votes])
    assert after.tolist() == [[2.0, 0.0, 0.0, 5.0, 3.0]]
    assert merged[0, [0, 3, 4]].tolist() == [[2.0, 0.0], [7.0, 7.0], [0.0, 3.0]]
    added, after = made("reduction", "visionzip:contextual=0.6,fold=add")(tokens, kept, encoder_attention=[votes])
    assert after.tolist() == [[2.0, 0.0, 0.0, 1.0, 2.0]]
    assert added[0, [0, 3, 4]].tolist() == [[4.0, 0.0], [7.0, 7.0], [0.0, 5.0]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    tokens=st.integers(1, 14),
    protected=st.integers(0, 2),
    share=st.sampled_from([0.15625, 0.3, 0.5, 0.95]),
    fold=st.sampled_from(["mean", "add"]),
    sized=st.booleans(),
    data=st.data(),
)
def test_it_is_visionzip_as_a_loop_does_it(seed, tokens, protected, share, fold, sized, data):
    """Scorer, selector and reduction together against plain Python."""
    votes = attention_votes(tokens=tokens, protected=protected, seed=seed)
    keep = data.draw(st.integers(1, tokens))
    given_tokens, sizes = vectors(tokens=tokens, seed=seed), some_sizes(tokens=tokens, seed=seed) if sized else None
    kept = elected(votes, keep, share)
    reduction = made("reduction", f"visionzip:contextual={share},fold={fold}")
    merged, after = reduction(given_tokens, kept, sizes, encoder_attention=[votes])
    for image in range(2):
        dominant, contextual = select_by_hand(scores_by_hand(votes, image), keep, share)
        if keep == 1:
            dominant, contextual = [], dominant  # a single kept token takes everything in
        assert kept[image].nonzero()[:, 0].tolist() == sorted(dominant + contextual)
        expected = fold_by_hand(votes, image, given_tokens, dominant, contextual, sizes, fold)
        for token, (vector, size) in expected.items():
            assert after[image, token] == size
            torch.testing.assert_close(merged[image, token], torch.tensor(vector), check_dtype=False)
        assert torch.equal(merged[image, dominant], given_tokens[image, dominant])  # bit for bit
        assert not after[image, ~kept[image]].any()


@pytest.mark.parametrize("protected", [0, 1])
@pytest.mark.parametrize("keep", [2, 8, 16, 31, 32])
def test_with_ties_too_the_reduction_finds_the_selectors_dominant_tokens(keep, protected):
    """Every token occurs four times, so [CLS] looks at four alike and the order decides."""
    votes = attention_votes(tokens=32, protected=protected)
    order = torch.cat([torch.arange(protected), protected + torch.arange(32) // 4])
    votes = tokprune.AttentionVotes(
        votes.query[:, :, order], votes.key[:, :, order], votes.scale, candidates="key", protected=protected
    )
    scores = made("aggregator", "sum")([votes.of_voters(0, 1) if protected else votes])
    assert len(scores[0].unique()) == 8
    kept = elected(votes, keep)
    dominant = keep - count_by_hand(keep, 0.15625)
    best = tokprune.functional.top_k(scores, dominant)
    tokens = vectors(tokens=32)
    merged, sizes = made("reduction", "visionzip")(tokens, kept, encoder_attention=[votes])
    assert torch.equal(merged[best], tokens[best])
    assert (sizes[best] == 1).all()
    assert (sizes * (kept & ~best)).sum(dim=1).tolist() == [32 - dominant] * 2


@pytest.mark.parametrize("keep", [2, 3])
def test_the_most_attended_token_is_never_contextual(keep):
    votes, tokens = attention_votes(), vectors()
    kept = elected(votes, keep, 0.999)
    _, sizes = made("reduction", "visionzip:contextual=0.999")(tokens, kept, encoder_attention=[votes])
    for image in range(2):
        scores = scores_by_hand(votes, image)
        assert sizes[image, scores.index(max(scores))] == 1
        assert sizes[image].sum() == 12


def test_any_choice_of_tokens_is_folded_by_its_own_attention():
    """Another selector, another number in every row: the least attended of the kept ones are contextual."""
    votes = attention_votes()
    kept = mask_of([[0, 3, 4, 7, 8, 9], [2, 11]], 12)
    tokens = vectors()
    merged, sizes = made("reduction", "visionzip:contextual=0.4")(tokens, kept, encoder_attention=[votes])
    for image in range(2):
        rows = kept[image].nonzero()[:, 0].tolist()
        scores = scores_by_hand(votes, image)
        ranked = sorted(rows, key=lambda token: -scores[token])
        contextual = count_by_hand(len(rows), 0.4)
        expected = fold_by_hand(votes, image, tokens, ranked[:-contextual], ranked[-contextual:])
        for token, (vector, size) in expected.items():
            assert sizes[image, token] == size
            torch.testing.assert_close(merged[image, token], torch.tensor(vector), check_dtype=False)


def test_of_equally_attended_tokens_the_later_is_contextual():
    votes = tokprune.AttentionVotes(
        torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2), 1.0, candidates="key", protected=1
    )
    kept = mask_of([[0, 1, 2]], 4)
    _, sizes = made("reduction", "visionzip")(vectors(1, 4), kept, encoder_attention=[votes])
    assert sizes.tolist() == [[1.0, 1.0, 2.0, 0.0]]


def test_of_equally_similar_tokens_the_earlier_takes_it():
    key = torch.tensor([[[[1.0, 2.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]]])
    votes = tokprune.AttentionVotes(key.flip(-1), key, 1.0, candidates="key")
    kept = mask_of([[0, 1, 2]], 4)
    _, sizes = made("reduction", "visionzip:contextual=0.6")(vectors(1, 4), kept, encoder_attention=[votes])
    assert sizes.tolist() == [[1.0, 2.0, 1.0, 0.0]]


def sizes_of(votes, tokens=None, spec="visionzip:contextual=0.5", kept=None):
    tokens = vectors() if tokens is None else tokens
    kept = mask_of([range(0, 12, 2)] * 2, 12) if kept is None else kept
    return made("reduction", spec)(tokens, kept, encoder_attention=[votes])[1]


def test_keys_decide_and_the_tokens_themselves_do_not():
    votes = attention_votes()
    assert torch.equal(sizes_of(votes), sizes_of(votes, vectors(seed=8)))
    turned = votes.key.clone()
    turned[:, :, 1 + 1] = -turned[:, :, 1 + 1]  # a dropped token
    assert not torch.equal(sizes_of(votes), sizes_of(with_key(votes, turned)))


def test_the_length_of_a_key_does_not_matter():
    votes = attention_votes(protected=0)
    kept = mask_of([[0, 1, 2, 3]] * 2, 12)
    query = torch.zeros_like(votes.query)  # everybody looks everywhere, so the last two are contextual
    found = []
    for factor in (1.0, 64.0):
        key = votes.key.clone()
        key[:, :, 3] *= factor
        found.append(sizes_of(tokprune.AttentionVotes(query, key, 1.0, candidates="key"), kept=kept))
    assert torch.equal(*found)
    assert (found[0][:, 2:4] > 1).all()


def test_keys_are_averaged_over_the_heads():
    """Head 0 alone would send the last token to token 1, the mean of both heads sends it to token 2."""
    key = torch.tensor(
        [[[[1.0, 0.0], [0.9, 0.4], [0.0, 1.0], [1.0, 0.3]], [[1.0, 0.0], [0.0, -3.0], [0.0, 3.0], [0.0, 2.0]]]]
    )
    votes = tokprune.AttentionVotes(torch.zeros_like(key), key, 1.0, candidates="key")
    kept = mask_of([[0, 1, 2]], 4)
    found = made("reduction", "visionzip:contextual=0.6")(vectors(1, 4), kept, encoder_attention=[votes])[1]
    assert found.tolist() == [[1.0, 1.0, 2.0, 0.0]]
    votes = tokprune.AttentionVotes(votes.query[:, :1], key[:, :1], 1.0, candidates="key")
    found = made("reduction", "visionzip:contextual=0.6")(vectors(1, 4), kept, encoder_attention=[votes])[1]
    assert found.tolist() == [[1.0, 2.0, 1.0, 0.0]]


def test_the_last_layer_is_the_one_that_counts():
    first, last = attention_votes(seed=1), attention_votes(seed=2)
    tokens, kept = vectors(), mask_of([range(0, 12, 2)] * 2, 12)
    reduction = made("reduction", "visionzip:contextual=0.5")
    assert torch.equal(
        reduction(tokens, kept, encoder_attention=[first, last])[1],
        reduction(tokens, kept, encoder_attention=[last])[1],
    )
    assert not torch.equal(sizes_of(first), sizes_of(last))
    assert reduction.layers_read == {"encoder_attention": "last"}


def test_options_change_the_outcome():
    votes, tokens, kept = attention_votes(), vectors(), mask_of([range(0, 12, 2)] * 2, 12)
    found = [
        made("reduction", spec)(tokens, kept, encoder_attention=[votes])[0]
        for spec in ("visionzip", "visionzip:contextual=0.5", "visionzip:fold=add")
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_adding_makes_tokens_that_resemble_each_other_twice_as_long():
    votes, kept = attention_votes(), mask_of([[0, 1]] * 2, 12)
    tokens = torch.ones(2, 12, 3)
    mean, _ = made("reduction", "visionzip")(tokens, kept, encoder_attention=[votes])
    added, _ = made("reduction", "visionzip:fold=add")(tokens, kept, encoder_attention=[votes])
    assert torch.equal(mean, tokens)
    assert sorted(added[0, :2, 0].tolist()) == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_added_up_in_float32(dtype):
    """300 tokens of 300 sum to more than float16 holds."""
    votes = attention_votes(1, tokens=300)
    half = tokprune.AttentionVotes(
        votes.query.to(dtype), votes.key.to(dtype), votes.scale, candidates="key", protected=1
    )
    tokens = torch.full((1, 300, 2), 300.0, dtype=dtype)
    for fold, expected in (("mean", 300.0), ("add", 600.0)):
        merged, sizes = made("reduction", f"visionzip:fold={fold}")(
            tokens, mask_of([[5]], 300), encoder_attention=[half]
        )
        assert merged.dtype == dtype
        assert merged[0, 5].tolist() == [expected] * 2
        assert sizes.sum() == 300


def test_one_key_for_all_images_is_enough():
    """Votes may hold keys with a batch of 1, for all images."""
    votes = attention_votes(1)
    query = attention_votes(2).query
    shared = tokprune.AttentionVotes(query, votes.key, 1.0, candidates="key", protected=1)
    spread = tokprune.AttentionVotes(query, votes.key.expand(2, -1, -1, -1), 1.0, candidates="key", protected=1)
    assert torch.equal(sizes_of(shared), sizes_of(spread))


def test_gradients_flow_through_the_tokens():
    tokens = vectors().requires_grad_()
    votes, kept = attention_votes(), mask_of([range(0, 12, 2)] * 2, 12)
    merged, _ = made("reduction", "visionzip")(tokens, kept, encoder_attention=[votes])
    (merged * kept[..., None]).sum().backward()
    assert (tokens.grad > 0).all()  # a dropped token too: it lives on in a kept one
    torch.testing.assert_close((tokens.grad[..., 0]).sum(dim=1), torch.full((2,), 6.0))


def test_nothing_waits_for_the_device():
    """Tensors without values: whoever reads one fails, and nothing is made elsewhere and copied."""
    votes = attention_votes()
    query, key = votes.query.to("meta"), votes.key.to("meta")
    votes = tokprune.AttentionVotes(query, key, 1.0, candidates="key", protected=1)
    kept = torch.empty(2, 12, dtype=torch.bool, device="meta")
    tokens = torch.empty(2, 12, 5, device="meta")
    with Devices() as devices:
        merged, sizes = made("reduction", "visionzip")(tokens, kept, encoder_attention=[votes])
    assert devices.seen == {"meta"}
    assert (merged.shape, sizes.shape) == ((2, 12, 5), (2, 12))


def test_keys_are_averaged_in_float32():
    """Between 1 and 1 + 1/128 bfloat16 has nothing: the last token, 5/8 of the way, would be rounded to the end."""
    share = torch.tensor([0, 8, 4, 5])
    heads = 1 + (torch.arange(8)[:, None] < share) / 128
    key = torch.stack([heads, torch.ones(8, 4)], dim=-1)[None].bfloat16()
    votes = tokprune.AttentionVotes(torch.zeros_like(key), key, 1.0, candidates="key")
    found = made("reduction", "visionzip:contextual=0.6")(
        vectors(1, 4), mask_of([[0, 1, 2]], 4), encoder_attention=[votes]
    )
    assert found[1].tolist() == [[1.0, 1.0, 2.0, 0.0]]


@pytest.mark.parametrize(
    "votes",
    [
        tokprune.Votes(torch.rand(2, 13, 12)),
        tokprune.AttentionVotes(torch.rand(2, 1, 12, 4), torch.rand(2, 1, 12, 4), 1.0, candidates="query"),
    ],
)
def test_votes_without_keys_of_the_tokens_are_refused(votes):
    with pytest.raises(tokprune.InvalidValueError, match=r"reduction 'visionzip': .* got .*Votes\(.* Use 'merge'"):
        sizes_of(votes)


def test_votes_about_other_tokens_are_refused():
    with pytest.raises(tokprune.InvalidValueError, match=r"\(2, 12, 5\), but .* about 9 tokens of 2 .* target='image'"):
        sizes_of(attention_votes(tokens=9))


@pytest.mark.parametrize(("option", "known"), [("fold", "'mean' or 'add'"), ("attention", "'cls' or 'received'")])
def test_unknown_values_are_refused(option, known):
    with pytest.raises(tokprune.InvalidValueError, match=f"{option} must be {known}, got 'max'"):
        made("reduction", f"visionzip:{option}=max")


def test_received_attention_can_decide_where_there_is_a_cls():
    """Then it agrees with the scorer `received-attention`, as a loop does that is told of no [CLS]."""
    votes, tokens = attention_votes(tokens=20), vectors(tokens=20)
    kept = elected(votes, 10, 0.3, "received-attention")
    merged, sizes = made("reduction", "visionzip:contextual=0.3,attention=received")(
        tokens, kept, encoder_attention=[votes]
    )
    assert not torch.equal(
        sizes, made("reduction", "visionzip:contextual=0.3")(tokens, kept, encoder_attention=[votes])[1]
    )
    for image in range(2):
        received = [sum(column) for column in zip(*votes.values[image].tolist(), strict=True)]
        dominant, contextual = select_by_hand(received, 10, 0.3)
        assert kept[image].nonzero()[:, 0].tolist() == sorted(dominant + contextual)
        for token, (vector, size) in fold_by_hand(votes, image, tokens, dominant, contextual).items():
            assert sizes[image, token] == size
            torch.testing.assert_close(merged[image, token], torch.tensor(vector), check_dtype=False)
