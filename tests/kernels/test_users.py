"""Scorers and voting rules that add up or rank attention never make its map."""

import pytest
import torch

from tokprune import Policy, Signal
from tokprune.functional import chunks
from tokprune.kernels import record_backends
from tokprune.votes import AttentionVotes

from .layers import layer
from .test_static import Largest

TOKENS, HEADS, QUERIES = 200, 4, 16
MAP = HEADS * TOKENS * QUERIES


def signal():
    def votes(queries, keys, candidates):
        return [AttentionVotes(*layer(1, HEADS, queries, keys, 4), 0.5, candidates=candidates, layer=i) for i in (0, 1)]

    return Signal(
        cross_attention=votes(QUERIES, TOKENS, "query"),
        self_attention=votes(QUERIES, QUERIES, "key"),
        encoder_attention=votes(TOKENS, TOKENS, "key"),
        shape=(1, QUERIES),
    )


@pytest.mark.parametrize(
    "policy",
    [
        Policy("catp-vote", 8),
        Policy("catp-weighted", 8),
        Policy("catp-vote", 8, aggregator="sum"),
        Policy("catp-vote", 8, aggregator="mean"),
        Policy("self-attention", 8),
    ],
    ids=str,
)
def test_no_map_is_made(policy, monkeypatch):
    monkeypatch.setattr(chunks, "CPU_CELLS", MAP // 4)
    with Largest() as largest, record_backends() as ran:
        policy.choose(signal())
    assert largest.elements <= MAP // 4
    assert ran == {"reference"}


def test_rules_that_need_the_ballots_do_make_it(monkeypatch):
    monkeypatch.setattr(chunks, "CPU_CELLS", MAP // 4)
    with Largest() as largest:
        Policy("catp-vote", 8, aggregator="plurality").choose(signal())
    assert largest.elements >= MAP


def test_image_weights_are_what_each_image_token_receives():
    from tokprune.functional import received_attention
    from tokprune.scorers import CatpWeighted

    seen = signal()
    received = received_attention(seen.encoder_attention[-1].attention)
    torch.testing.assert_close(CatpWeighted().image_weights(seen), received.softmax(dim=-1))
    shares = CatpWeighted(weighting="share").image_weights(seen)
    torch.testing.assert_close(shares, received / (HEADS * TOKENS))
