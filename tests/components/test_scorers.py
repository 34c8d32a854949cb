"""What each scorer says, on signals that can be checked by eye or by hand."""

import pytest
import torch

from tokprune import InvalidValueError, Signal, SignalError, Votes, aggregators, scorers
from tokprune.functional import catp_scores, received_attention
from tokprune.layers import LayerVotes
from tokprune.testing.observations import observations
from tokprune.testing.scorers import scores_of, targets_of

from .matrix import create, every_scorer

*_, OBSERVED = observations()
EVERYTHING = OBSERVED.signal(("tokens", "cross_attention", "self_attention", "encoder_attention"))


def scores(scorer, signal=EVERYTHING, aggregator=None):
    return (aggregator or getattr(aggregators, {"borda": "Borda", "sum": "Total"}[scorer.aggregator])())(scorer(signal))


def cross_layers():
    return [votes.attention for votes in EVERYTHING.cross_attention]


def test_catp_vote_is_the_sum_of_the_layers_points():
    expected = sum(catp_scores(attention) for attention in cross_layers())
    assert torch.equal(scores(scorers.CatpVote()), expected)


@pytest.mark.parametrize(("layers", "index"), [("first", 0), ("last", 3), ([1], 1), (-2, 2)])
def test_catp_vote_of_one_layer_is_that_layers_points(layers, index):
    assert torch.equal(scores(scorers.CatpVote(layers)), catp_scores(cross_layers()[index]))


def test_sum_then_rank_adds_probabilities_and_ranks_once():
    expected = catp_scores(torch.stack(cross_layers()).sum(dim=0))
    assert torch.equal(scores(scorers.CatpVote(order="sum-then-rank")), expected)


def test_sum_then_rank_adds_half_precision_maps_in_float32():
    layers = [Votes(torch.tensor([[[1.0, 1.0]]]).half()), Votes(torch.tensor([[[2.0**-12, 0.0]]]).half())]
    scorer = scorers.CatpVote(order="sum-then-rank")
    assert scores(scorer, Signal(cross_attention=layers)).tolist() == [[1.0, 0.0]]


def test_catp_weighted_weighs_the_points_by_the_attention_an_image_token_receives():
    received = received_attention(EVERYTHING.encoder_attention[-1].attention)
    for weighting, weights in (("softmax", received.softmax(1)), ("share", received / received.sum(1, keepdim=True))):
        expected = sum(catp_scores(attention, weights) for attention in cross_layers())
        torch.testing.assert_close(scores(scorers.CatpWeighted(weighting=weighting)), expected)


def test_an_important_image_token_can_decide_what_catp_weighted_keeps():
    votes = [Votes(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))]
    for favoured in (0, 1):
        attention = torch.eye(2)[[favoured, favoured]][None]
        signal = Signal(cross_attention=votes, encoder_attention=[Votes(attention)])
        assert scores(scorers.CatpWeighted(), signal).argmax().item() == favoured


def test_catp_weighted_reads_the_last_layer_of_the_encoder_only():
    captured = LayerVotes({3: EVERYTHING.encoder_attention[3]}, 4, "encoder_attention")
    signal = Signal(cross_attention=EVERYTHING.cross_attention, encoder_attention=captured)
    assert torch.equal(scores(scorers.CatpWeighted(), signal), scores(scorers.CatpWeighted()))


def test_self_attention_is_the_attention_received_in_all_layers():
    expected = sum(received_attention(votes.attention).double() for votes in EVERYTHING.self_attention)
    torch.testing.assert_close(scores(scorers.SelfAttention()), expected.float())


def test_l2_norm_is_the_length_of_the_vectors():
    assert scores(scorers.L2Norm(), Signal(tokens=torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))).tolist() == [[5.0, 1.0]]


def test_distinct_is_the_distance_from_the_mean():
    assert scores(scorers.Distinct(), Signal(tokens=torch.tensor([[[0.0], [0.0], [3.0]]]))).tolist() == [[1, 1, 2]]


def test_focus_is_the_negative_entropy_over_the_voters():
    expected = torch.zeros(3, 32, dtype=torch.float64)
    for attention in cross_layers():
        expected -= torch.distributions.Categorical(probs=attention.double()).entropy().sum(dim=1)
    torch.testing.assert_close(scores(scorers.Focus()), expected.float(), rtol=1e-4, atol=1e-4)


def test_focus_prefers_a_token_that_looks_at_one_thing_and_catp_one_that_looks_everywhere():
    attention = torch.tensor([[[0.97, 0.25], [0.01, 0.25], [0.01, 0.25], [0.01, 0.25]]])  # [batch image query]
    signal = Signal(cross_attention=[Votes(attention)])
    assert scores(scorers.Focus(), signal).argmax() == 0
    assert scores(scorers.CatpVote(), signal).argmax() == 1


def test_focus_of_a_token_that_attends_to_nothing_is_finite():
    signal = Signal(cross_attention=[Votes(torch.zeros(1, 3, 2))])
    assert scores(scorers.Focus(), signal).tolist() == [[0.0, 0.0]]


def test_first_prefers_the_earlier_tokens():
    assert scores(scorers.First(), Signal(tokens=torch.zeros(1, 3, 2))).tolist() == [[3.0, 2.0, 1.0]]


@pytest.mark.parametrize("tokens", [1, 2, 5, 32, 257])
def test_stride_spreads_what_it_keeps_at_every_keep(tokens):
    order = scores(scorers.Stride(), Signal(tokens=torch.zeros(1, tokens, 2)))[0].argsort(descending=True)
    assert order[0] == 0
    for count in range(1, tokens + 1):
        gaps = torch.diff(torch.cat([order[:count].sort().values, torch.tensor([tokens])]))
        # Halving again and again: the widest gap is at most the next power of two above four fair shares.
        assert gaps.max() <= 4 * tokens / count


def test_random_depends_on_the_seed_and_on_nothing_else():
    first, second = Signal(tokens=torch.zeros(2, 9, 3)), Signal(tokens=torch.ones(5, 9, 7))
    assert torch.equal(scores(scorers.Random(), first)[0], scores(scorers.Random(), second)[4])
    assert not torch.equal(scores(scorers.Random(), first), scores(scorers.Random(seed=1), first))


def test_random_scores_are_spread_over_the_unit_interval():
    drawn = torch.cat([scores(scorers.Random(seed=s), Signal(tokens=torch.zeros(1, 64, 1)))[0] for s in range(40)])
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 0.02


@every_scorer
@pytest.mark.parametrize("number", range(len(list(observations()))))
def test_an_image_scores_the_same_bit_for_bit_alone_and_among_others(spec, number):
    scorer = create("scorer", spec)
    observed = list(observations(target=targets_of(scorer)[0]))[number]
    together = scores_of(scorer, observed)
    for row in range(len(together)):
        assert torch.equal(scores_of(scorer, observed.images(row)), together[row : row + 1])


@every_scorer
def test_a_scorer_that_misses_a_signal_says_what_is_offered(spec):
    scorer = create("scorer", spec)
    with pytest.raises(SignalError, match=r"was not observed; .* offers 'grid'"):
        list(scorer(Signal(grid=(1, 4), shape=(1, 4))))


@pytest.mark.parametrize("name", ["CatpVote", "CatpWeighted", "Focus", "SelfAttention"])
@pytest.mark.parametrize("layers", ["middle", [], [0, 0], [True], 1.5, None, ["0"]])
def test_layers_that_mean_nothing_are_refused(name, layers):
    with pytest.raises(InvalidValueError, match="layers must be"):
        getattr(scorers, name)(layers=layers)


@pytest.mark.parametrize("layers", [[4], [-5], [0, -4]])
def test_layers_that_are_not_there_are_refused_with_their_number(layers):
    with pytest.raises(InvalidValueError, match="there are 4 layers"):
        list(scorers.CatpVote(layers)(EVERYTHING))


@pytest.mark.parametrize(
    ("scorer", "option"), [(scorers.CatpVote, {"order": "both"}), (scorers.CatpWeighted, {"weighting": 1})]
)
def test_an_unknown_choice_names_the_choices(scorer, option):
    with pytest.raises(InvalidValueError, match="must be one of"):
        scorer(**option)
