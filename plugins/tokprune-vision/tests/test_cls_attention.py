"""`cls-attention`: what [CLS] looks at, or what is looked at where there is no [CLS]."""

import pytest
import torch
from by_hand import attention_votes, made, scores_by_hand

import tokprune
from tokprune.layers import LayerVotes
from tokprune.testing import check_scorer


def scores(spec, *layers):
    scorer = made("scorer", spec)
    signal = tokprune.Signal(encoder_attention=list(layers), shape=(layers[0].shape[0], layers[0].shape[2]))
    return made("aggregator", scorer.aggregator)(scorer(signal))


def test_it_is_installed_under_its_name():
    assert tokprune.list_scorers("cls-*") == ["cls-attention"]


@pytest.mark.parametrize("spec", ["cls-attention:layers=all", "cls-attention:layers=[0,2]"])
def test_the_laws_of_scorers_hold(spec):
    check_scorer(made("scorer", spec))


@pytest.mark.parametrize("protected", [0, 1, 3])
def test_scores_are_those_of_a_loop(protected):
    votes = attention_votes(protected=protected)
    expected = torch.tensor([scores_by_hand(votes, image) for image in range(2)])
    torch.testing.assert_close(scores("cls-attention", votes), expected)


def test_two_heads_by_hand():
    """[CLS] sees three tokens: one head with odds 1 : 2 : 1 (and 4 for itself), the other with 3 : 1 : 1 (and 1)."""
    odds = torch.tensor([[[4.0, 1, 2, 1]], [[1.0, 3, 1, 1]]]).log()
    query = torch.zeros(1, 2, 4, 4)
    query[0, :, 0] = odds[:, 0]
    key = torch.eye(4).expand(1, 2, 4, 4)
    votes = tokprune.AttentionVotes(query, key, 1.0, candidates="key", protected=1)
    expected = torch.tensor([[1 / 8 + 3 / 6, 2 / 8 + 1 / 6, 1 / 8 + 1 / 6]])
    torch.testing.assert_close(scores("cls-attention", votes), expected)


def test_only_the_votes_of_cls_count():
    votes = attention_votes(protected=2)
    query = votes.query.clone()
    query[:, :, 1:] += torch.randn(query[:, :, 1:].shape, generator=torch.Generator().manual_seed(1))
    other = tokprune.AttentionVotes(query, votes.key, votes.scale, candidates="key", protected=2)
    assert torch.equal(scores("cls-attention", votes), scores("cls-attention", other))
    assert not torch.allclose(scores("received-attention", votes), scores("received-attention", other))


def test_without_cls_it_is_received_attention():
    votes = attention_votes(protected=0)
    assert torch.equal(scores("cls-attention", votes), scores("received-attention", votes))


def test_with_cls_it_keeps_other_tokens_than_received_attention():
    votes = attention_votes()
    kept = [tokprune.functional.top_k(scores(name, votes), 4) for name in ("cls-attention", "received-attention")]
    assert not torch.equal(*kept)


def test_votes_stay_queries_and_keys():
    (votes,) = made("scorer", "cls-attention")(tokprune.Signal(encoder_attention=[attention_votes()], shape=(2, 12)))
    assert isinstance(votes, tokprune.AttentionVotes)
    assert votes.shape == (2, 2, 12)  # one vote of each head


def test_votes_that_are_numbers_come_from_everybody():
    votes = tokprune.Votes(torch.tensor([[[0.1, 0.9], [0.7, 0.3]]]))
    torch.testing.assert_close(scores("cls-attention", votes), torch.tensor([[0.8, 1.2]]))


def test_layers_are_chosen_and_several_are_summed():
    layers = [attention_votes(seed=seed, layer=seed) for seed in range(3)]
    single = [scores("cls-attention", votes) for votes in layers]
    assert torch.equal(scores("cls-attention", *layers), single[2])
    assert torch.equal(scores("cls-attention:layers=first", *layers), single[0])
    torch.testing.assert_close(scores("cls-attention:layers=all", *layers), sum(single))
    torch.testing.assert_close(scores("cls-attention:layers=[0,1]", *layers), single[0] + single[1])


def test_only_chosen_layers_are_captured():
    signal = tokprune.Signal(encoder_attention=LayerVotes({2: attention_votes()}, 3), shape=(2, 12))
    assert made("scorer", "cls-attention").layers_read == {"encoder_attention": "last"}
    assert len(list(made("scorer", "cls-attention")(signal))) == 1


@pytest.mark.parametrize("layers", ["middle", "1.5", "[0,0]"])
def test_layers_that_are_none_are_refused(layers):
    with pytest.raises(tokprune.InvalidValueError, match="cls-attention: layers must be"):
        tokprune.Policy(f"cls-attention:layers={layers}")
