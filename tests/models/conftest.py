"""Models are built once; a test that leaves anything on one of them fails."""

import copy
import functools

import pytest
import torch

from tokprune.testing import tiny_instructblip
from tokprune.testing.tiny_blip2 import LANGUAGE_MODELS, prompts, tiny_blip2

from .calls import generate, logits
from .either import EITHER, INSTRUCTBLIP
from .traces import traces

_BUILT = {}


def _built(kind, build=tiny_blip2, inputs=prompts):
    if (kind, build) not in _BUILT:
        model = build(kind)
        logits(model, inputs(kind))
        generate(model, inputs(kind), cache_implementation="static")  # transformers notes things at first calls
        _BUILT[kind, build] = model, traces(model)
    return _BUILT[kind, build]


def _lend(kind, *family):
    model, before = _built(kind, *family)
    yield model
    after = traces(model)
    if after != before:
        _BUILT.clear()
    assert after == before, "the test left something on a shared model"


@pytest.fixture(params=LANGUAGE_MODELS)
def kind(request):
    """Which language model: "opt" or "t5"."""
    return request.param


@pytest.fixture
def model(kind):
    """A shared tiny BLIP-2, with OPT and with T5; must be left as it came."""
    yield from _lend(kind)


@pytest.fixture
def opt():
    """The shared tiny BLIP-2 with OPT."""
    yield from _lend("opt")


@pytest.fixture
def t5():
    """The shared tiny BLIP-2 with T5."""
    yield from _lend("t5")


@pytest.fixture
def fresh(kind):
    """A copy that a test may change."""
    return copy.deepcopy(_built(kind)[0])


@pytest.fixture
def fresh_opt():
    """A copy of the one with OPT that a test may change."""
    return copy.deepcopy(_built("opt")[0])


@pytest.fixture
def inputs(kind):
    """Two rows of different length."""
    return prompts(kind)


@pytest.fixture(params=EITHER)
def which(request):
    """One of `EITHER`."""
    return EITHER[request.param]


@pytest.fixture
def either(which):
    """A shared tiny BLIP-2 or InstructBLIP; must be left as it came."""
    yield from _lend(*which)


@pytest.fixture
def fresh_either(which):
    """A copy that a test may change."""
    return copy.deepcopy(_built(*which)[0])


@pytest.fixture
def lay(which):
    """Lays out its inputs: `prompts` with the kind of language model given."""
    kind, _, layout = which
    return functools.partial(layout, kind)


@pytest.fixture
def laid(lay):
    """Two rows of different length."""
    return lay()


@pytest.fixture(params=tiny_instructblip.LANGUAGE_MODELS)
def instructed(request):
    """Which language model of InstructBLIP: "llama" or "t5"."""
    return request.param


@pytest.fixture
def instructblip(instructed):
    """A shared tiny InstructBLIP, with LLaMA and with T5; must be left as it came."""
    yield from _lend(instructed, *INSTRUCTBLIP)


@pytest.fixture
def fresh_instructblip(instructed):
    """A copy that a test may change."""
    return copy.deepcopy(_built(instructed, *INSTRUCTBLIP)[0])


@pytest.fixture
def asked(instructed):
    """Two rows of different length with questions of different length."""
    return tiny_instructblip.prompts(instructed)


@pytest.fixture
def compiler():
    """torch.compile without code generation; its caches are emptied before and after."""
    torch._dynamo.reset()
    yield lambda module: torch.compile(module, backend="eager")
    torch._dynamo.reset()
