"""Signal: offers what was observed, and says so when asked for more."""

import copy

import pytest
import torch

from tokprune import InvalidValueError, Signal, SignalError, Text, TokpruneError, Votes
from tokprune.signal import SIGNAL_NAMES

TOKENS = torch.zeros(2, 32, 8)
VOTES = [Votes(torch.zeros(2, 5, 32))]


@pytest.mark.parametrize("name", SIGNAL_NAMES)
def test_a_signal_that_was_not_observed_names_those_that_were(name):
    signal = Signal(shape=(2, 32), source="adapter 'blip2'")
    with pytest.raises(SignalError, match=f"signal '{name}' was not observed; adapter 'blip2' offers nothing"):
        getattr(signal, name)


def test_the_message_names_what_is_offered_and_what_to_do():
    with pytest.raises(SignalError, match=r"offers 'tokens', 'grid'\. A scorer must list what it reads in `needs`"):
        _ = Signal(tokens=TOKENS, grid=(4, 8)).text


def test_a_missing_signal_is_an_attribute_error_so_that_getattr_with_a_default_works():
    assert getattr(Signal(tokens=TOKENS), "text", None) is None
    assert not hasattr(Signal(tokens=TOKENS), "cross_attention")


def test_a_misspelt_signal_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError) as caught:
        _ = Signal(tokens=TOKENS).token
    assert not isinstance(caught.value, TokpruneError)


@pytest.mark.parametrize("name", ["tokens", "batch", "anything"])
def test_a_signal_is_read_only(name):
    signal = Signal(tokens=TOKENS)
    with pytest.raises(AttributeError, match="read-only"):
        setattr(signal, name, 1)
    with pytest.raises(AttributeError, match="read-only"):
        delattr(signal, name)


def test_everything_offered_can_be_read():
    text = Text(torch.zeros(2, 3, 8), torch.ones(2, 3) > 0)
    signal = Signal(tokens=TOKENS, cross_attention=VOTES, text=text, grid=(4, 8))
    assert signal.offered == ("tokens", "cross_attention", "text", "grid")
    assert signal.tokens is TOKENS
    assert signal.cross_attention is VOTES
    assert (signal.text, signal.grid) == (text, (4, 8))


ABOUT_TOKENS = [{"tokens": TOKENS}, {"cross_attention": VOTES}, {"self_attention": VOTES}, {"shape": (2, 32)}]


@pytest.mark.parametrize("offered", ABOUT_TOKENS)
def test_the_shape_is_known_from_whatever_is_about_the_target_tokens(offered):
    signal = Signal(**offered)
    assert (signal.shape, signal.batch, signal.token_count) == ((2, 32), 2, 32)


def test_a_signal_that_is_not_about_the_target_tokens_has_no_shape():
    with pytest.raises(SignalError, match="says nothing about the target tokens; it offers: encoder_attention"):
        _ = Signal(encoder_attention=VOTES).shape


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens": torch.zeros(2, 3)}, r"tokens must have shape \[batch token dim\], got \(2, 3\)"),
        ({"cross_attention": VOTES[0]}, "cross_attention must be a sequence with one Votes per layer"),
        ({"self_attention": iter(VOTES)}, "self_attention must be a sequence"),
    ],
)
def test_a_wrong_signal_is_refused_when_it_is_made(wrong, message):
    with pytest.raises(InvalidValueError, match=message):
        Signal(**wrong)


def test_a_signal_prints_what_it_offers_and_can_be_copied():
    signal = Signal(tokens=TOKENS)
    assert repr(signal) == "Signal(offered=('tokens',))"
    assert torch.equal(copy.deepcopy(signal).tokens, TOKENS)
