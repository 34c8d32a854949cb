"""tokprune.observe(target="image"): the encoder's attention, tokens and grid at the place where it would be cut."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import tokprune
from tokprune import AdapterError, InvalidValueError, UnsupportedCallError
from tokprune.testing.tiny_blip2 import prompts, with_attention

from .calls import decoder, forward, generate, logits
from .image_oracle import by_hand
from .traces import traces

NEEDS = ("tokens", "encoder_attention", "self_attention", "grid")


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


@pytest.fixture
def whole(model, kind):
    """Inputs that a forward can run on, three images in two rows."""
    inputs = prompts(kind, images=(1, 2), pads=(1, 2))
    return {**inputs, **decoder(model, inputs)}


@pytest.mark.parametrize(("after", "layers"), [(None, 1), (1, 1), (2, 2), (1.0, 3), ("every", 1), ((2, 3), 2)])
def test_what_is_seen_is_what_there_is_at_the_first_cut(model, whole, after, layers):
    encoded = by_hand(model, whole, {})[0]
    signal = tokprune.observe(model, whole, NEEDS[:3], target="image", after=after)
    assert torch.equal(signal.tokens, encoded.sequences[layers][:, 1:])
    assert signal.shape == (3, 16)
    for seen in (signal.encoder_attention, signal.self_attention):
        for votes, attention in zip(seen, encoded.maps[:layers], strict=True):
            assert torch.allclose(votes.attention, attention, atol=1e-5)
            assert torch.allclose(votes.by_head, attention[..., 1:], atol=1e-5)
            assert votes.shape == (3, 4 * 17, 16)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_seen_under_every_implementation(fresh, whole, attention):
    model = with_attention(fresh, attention)
    signal = tokprune.observe(model, whole, ("encoder_attention",), target="image", after=3)
    for votes, expected in zip(signal.encoder_attention, by_hand(model, whole, {})[0].maps, strict=True):
        assert torch.allclose(votes.attention, expected, atol=1e-5)
        assert not torch.allclose(votes.attention, expected.transpose(2, 3), atol=1e-2)


def test_nothing_is_offered_that_was_not_asked_for(model, whole):
    assert tokprune.observe(model, whole, ("tokens",), target="image").offered == ("tokens",)


def test_the_grid_counts_rows_and_columns_of_the_picture(model, whole):
    wide = {**whole, "pixel_values": torch.randn(3, 3, 8, 12), "interpolate_pos_encoding": True}
    assert tokprune.observe(model, whole, NEEDS, target="image").grid == (4, 4)
    assert tokprune.observe(model, wide, NEEDS, target="image", after=3).grid == (2, 3)


@dataclass(frozen=True)
class LowerRows:
    """Prefers tokens further down the picture."""

    needs: ClassVar[tuple[str, ...]] = ("grid",)

    def __call__(self, signal):
        rows, columns = signal.grid
        yield tokprune.Votes(torch.arange(rows).repeat_interleave(columns).float().expand(signal.shape[0], 1, -1))


@pytest.mark.parametrize("call", [forward, generate])
def test_a_scorer_may_read_the_grid_of_a_picture_that_is_not_square(opt, call):
    inputs = {**prompts("opt"), "pixel_values": torch.randn(2, 3, 8, 12)}
    with tokprune.apply(opt, scorer=LowerRows(), keep=3, target="image") as handle:
        call(opt, inputs, interpolate_pos_encoding=True)
    assert handle.report.kept.tolist() == [[False] * 3 + [True] * 3] * 2


def test_observing_changes_nothing(model, whole):
    before = traces(model), logits(model, whole)
    tokprune.observe(model, whole, NEEDS, target="image")
    assert traces(model) == before[0]
    assert torch.equal(logits(model, whole), before[1])


def test_a_failed_forward_leaves_nothing_behind(model):
    before = traces(model)
    with pytest.raises(TypeError):
        tokprune.observe(model, {"no_such_argument": 1}, target="image")
    assert traces(model) == before


def test_where_a_pruned_model_is_cut_all_its_tokens_are_seen(model, whole):
    plain = tokprune.observe(model, whole, NEEDS, target="image", after=2)
    with tokprune.apply(model, scorer="received-attention", keep=4, target="image", after=2) as handle:
        expected = logits(model, whole)
        seen = tokprune.observe(model, whole, NEEDS, target="image", after=2)
        assert torch.equal(logits(model, whole), expected)
        assert handle.report.counts.tolist() == [4, 4, 4]
    assert torch.equal(seen.tokens, plain.tokens)
    assert torch.equal(seen.encoder_attention[1].values, plain.encoder_attention[1].values)


def test_attention_that_spans_the_cut_of_a_pruned_model_is_refused(model, whole):
    with tokprune.apply(model, scorer="received-attention", keep=4, target="image", after=1):
        expected = logits(model, whole)
        with pytest.raises(UnsupportedCallError, match=r"behind layer 3 there are 4 .* were 16.*handle\.remove\(\)"):
            tokprune.observe(model, whole, NEEDS, target="image", after=3)
        assert torch.equal(logits(model, whole), expected)


def test_query_tokens_of_a_model_pruned_at_the_image_read_the_shorter_sequence(model, whole):
    with tokprune.apply(model, scorer="received-attention", keep=4, target="image"):
        cross = tokprune.observe(model, whole, ("cross_attention",)).cross_attention
    assert [votes.shape for votes in cross] == [(3, 4 * 5, 8)] * 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"needs": NEEDS, "after": "every"}, AdapterError, "'grid' is only known at the first of 3 cuts"),
        ({"needs": ("text",)}, AdapterError, r"observe needs 'text'; adapter 'blip2' target 'image' offers 'tokens'"),
        ({"after": 4}, InvalidValueError, "after=4: there are 3 layers"),
        ({"after": 0}, InvalidValueError, "after=0 names no layers"),
    ],
    ids=str,
)
def test_what_cannot_be_observed_is_refused_in_clear_words(model, whole, options, error, message):
    before = traces(model)
    with pytest.raises(error, match=message):
        tokprune.observe(model, whole, **{"target": "image", **options})
    assert traces(model) == before
