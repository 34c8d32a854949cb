"""Ctrl-C in the middle of a call: torch runs no hook then, and still the next call is what it would have been."""

import contextlib
import gc
import weakref
from itertools import product

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import tokprune
from tokprune.adapters import calls
from tokprune.testing import tiny

from .seams import SEAMS, answer, built, options_of, ways


class Interrupt:
    """Raises KeyboardInterrupt when the module with this number is called, and counts those that are."""

    def __init__(self, at=None):
        self.at, self.calls = at, 0

    def __call__(self, module, args):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt

    def __enter__(self):
        self.handle = register_module_forward_pre_hook(self)
        return self

    def __exit__(self, *_):
        self.handle.remove()


@pytest.mark.parametrize("seam", SEAMS)
def test_the_next_call_is_what_it_would_have_been(seam):
    model, inputs = built(SEAMS[seam][0])
    with tokprune.apply(model, **options_of(seam)) as handle:
        expected = {call: call(model, inputs) for call in ways(model)}
        for call in expected:
            with Interrupt() as counted:
                call(model, inputs)
            for part, following in product((0.4, 1.0), expected):
                with Interrupt(round(part * counted.calls)), pytest.raises(KeyboardInterrupt):
                    call(model, inputs)
                found = following(model, inputs)
                assert torch.equal(found, expected[following]), (call, part, following)
                assert not calls._CALLS.left()
        with Interrupt(round(0.8 * counted.calls)), pytest.raises(KeyboardInterrupt):
            call(model, inputs)
        assert handle.active
    assert not calls._CALLS.left()


@pytest.mark.parametrize(
    "seam", ["delegated", "embed-merge", "embed-merge, positions", "inside", "encoder in a decoder"]
)
def test_a_text_after_it_is_a_text(seam):
    model, inputs = built(SEAMS[seam][0])
    text = {"input_ids": torch.arange(2, 16).view(2, 7)}
    language_model = model.language_model if seam == "delegated" else model
    plain = answer(language_model, text)
    with tokprune.apply(model, **options_of(seam)), Interrupt() as counted:
        answer(model, inputs)
    with tokprune.apply(model, **options_of(seam)):
        for part in (0.3, 0.6, 1.0):
            with Interrupt(round(part * counted.calls)), pytest.raises(KeyboardInterrupt):
                answer(model, inputs)
            assert torch.equal(answer(language_model, text), plain), part


def interrupted():
    """A weak reference to a model whose last call was interrupted, and whose policy was never removed."""
    model, inputs = tiny("llava")
    tokprune.apply(model, scorer="first", keep=3, reduction="merge")
    with Interrupt() as counted:
        answer(model, inputs)
    with Interrupt(round(0.9 * counted.calls)), contextlib.suppress(KeyboardInterrupt):
        answer(model, inputs)
    return weakref.ref(model)


def test_an_interrupted_call_keeps_no_model_alive():
    gone = interrupted()
    gc.collect()
    assert gone() is None
