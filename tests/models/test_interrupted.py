"""Ctrl-C in the middle of a call: torch runs no hook then, and still the next call is what it would have been."""

from functools import cache
from itertools import product

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import tokprune
from tokprune import adapters
from tokprune.adapters import calls
from tokprune.testing.tiny import EXAMPLES

SEAMS = {
    "delegated": (adapters.Blip2, {}),
    "heads": (adapters.Blip2Retrieval, {}),
    "embed-merge": (adapters.Llava, {"scorer": "received-attention"}),
    "embed-merge, positions": (adapters.Qwen2VL, {}),
    "inside": (adapters.Llava, {"scorer": "text-attention"}),
    "layer": (adapters.Clip, {"scorer": "received-attention"}),
    "methods": (adapters.TimmVit, {"scorer": "received-attention"}),
    "encoder's output": (adapters.VisionEncoderDecoder, {"scorer": "received-attention"}),
    "decoder": (adapters.VisionEncoderDecoder, {"scorer": "text-attention"}),
    "encoder in a decoder": (adapters.Mllama, {"scorer": "text-attention"}),
}
built = cache(lambda adapter: EXAMPLES[adapter]())
"""Models are built once; a test must leave them as they came."""


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


@torch.no_grad()
def answer(model, inputs):
    output = model(**inputs)
    if isinstance(output, torch.Tensor):
        return output
    return output.logits if hasattr(output, "logits") else output[0]


@torch.no_grad()
def generated(model, inputs):
    return model.generate(**inputs, max_new_tokens=3, do_sample=False, use_cache=True)


def ways(model):
    """The calls to interrupt."""
    return (answer, generated) if hasattr(model, "generate") and model.can_generate() else (answer,)


@pytest.mark.parametrize("seam", SEAMS)
def test_the_next_call_is_what_it_would_have_been(seam):
    adapter, options = SEAMS[seam]
    model, inputs = built(adapter)
    given = {answer: inputs, generated: {k: v for k, v in inputs.items() if not k.startswith("decoder")}}
    with tokprune.apply(model, **{"scorer": "l2-norm", "keep": 3, **options}) as handle:
        expected = {call: call(model, given[call]) for call in ways(model)}
        for call in expected:
            with Interrupt() as counted:
                call(model, given[call])
            for part, following in product((0.4, 1.0), expected):
                with Interrupt(round(part * counted.calls)), pytest.raises(KeyboardInterrupt):
                    call(model, given[call])
                found = following(model, given[following])
                assert torch.equal(found, expected[following]), (call, part, following)
                assert not calls._CALLS.get()
        with Interrupt(round(0.8 * counted.calls)), pytest.raises(KeyboardInterrupt):
            call(model, given[call])
        assert handle.active
    assert not calls._CALLS.get()


@pytest.mark.parametrize(
    "seam", ["delegated", "embed-merge", "embed-merge, positions", "inside", "encoder in a decoder"]
)
def test_a_text_after_it_is_a_text(seam):
    adapter, options = SEAMS[seam]
    model, inputs = built(adapter)
    text = {"input_ids": torch.arange(2, 16).view(2, 7)}
    language_model = model.language_model if seam == "delegated" else model
    plain = answer(language_model, text)
    with tokprune.apply(model, **{"scorer": "l2-norm", "keep": 3, **options}), Interrupt() as counted:
        answer(model, inputs)
    with tokprune.apply(model, **{"scorer": "l2-norm", "keep": 3, **options}):
        for part in (0.3, 0.6, 1.0):
            with Interrupt(round(part * counted.calls)), pytest.raises(KeyboardInterrupt):
                answer(model, inputs)
            assert torch.equal(answer(language_model, text), plain), part
