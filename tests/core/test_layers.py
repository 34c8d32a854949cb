"""Which layers are meant, and what happens when one was not captured."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune import InvalidValueError, SignalError, Votes
from tokprune.layers import LayerVotes, check_layers, layer_indices, pick_layers

LAYERS = [Votes(torch.full((1, 1, 1), float(i)), layer=i) for i in range(4)]
CAPTURED = LayerVotes({i: LAYERS[i] for i in (1, 3)}, 4, "cross_attention")


@pytest.mark.parametrize(
    ("layers", "indices"),
    [
        ("all", (0, 1, 2, 3)),
        ("first", (0,)),
        ("last", (3,)),
        ((2,), (2,)),
        ((-1,), (3,)),
        ((3, 0), (0, 3)),
        ((-4,), (0,)),
    ],
)
def test_layers_mean_indices_in_order(layers, indices):
    assert layer_indices(layers, 4) == indices


@pytest.mark.parametrize(("given_as", "canonical"), [([0, 2], (0, 2)), (1, (1,)), ((1,), (1,)), ("all", "all")])
def test_layers_have_one_canonical_form(given_as, canonical):
    assert check_layers("here", given_as) == canonical


@pytest.mark.parametrize("layers", [(4,), (-5,), (0, -4), (1, -3)])
def test_indices_that_are_not_there_or_mean_the_same_are_refused(layers):
    with pytest.raises(InvalidValueError, match="there are 4 layers, so indices go from 0 to 3"):
        layer_indices(layers, 4)


@pytest.mark.parametrize("layers", ["some", "", [], (), [1.0], [True], True, None, {0}, [0, 0]])
def test_what_does_not_mean_layers_is_refused_and_says_where(layers):
    with pytest.raises(InvalidValueError, match=r"my-scorer: layers must be 'all', 'first', 'last' or a list"):
        check_layers("my-scorer", layers)


@given(count=st.integers(1, 9), data=st.data())
def test_a_chosen_layer_is_the_same_counted_from_either_end(count, data):
    index = data.draw(st.integers(0, count - 1))
    assert layer_indices((index,), count) == layer_indices((index - count,), count) == (index,)


def test_a_layer_that_was_not_captured_raises_and_names_those_that_were():
    with pytest.raises(SignalError, match=r"layer 0 of 'cross_attention' was not captured.*layers_read.*\[1, 3\]"):
        _ = CAPTURED[0]


def test_going_through_all_layers_stops_at_one_that_was_not_captured():
    with pytest.raises(SignalError):
        list(CAPTURED)


def test_captured_layers_can_be_read_from_either_end():
    assert len(CAPTURED) == 4
    assert CAPTURED[3] is CAPTURED[-1] is LAYERS[3]
    assert CAPTURED[1::2] == [LAYERS[1], LAYERS[3]]
    assert list(pick_layers(CAPTURED, (1, -1))) == [LAYERS[1], LAYERS[3]]


@pytest.mark.parametrize("index", [4, -5])
def test_a_layer_that_there_is_not_is_an_index_error(index):
    with pytest.raises(IndexError, match="cross_attention has 4 layers"):
        _ = CAPTURED[index]


def test_layers_are_handed_out_one_at_a_time():
    picked = pick_layers(CAPTURED, "all")
    with pytest.raises(SignalError):
        next(picked)
    assert next(pick_layers(CAPTURED, (1, 2))) is LAYERS[1]


def test_layer_votes_print_what_was_captured():
    assert repr(CAPTURED) == "LayerVotes('cross_attention', captured [1, 3] of 4 layers)"
