"""An exception at any line of tokprune, Ctrl-C included: what was asked for holds, or the model is as it was."""

import copy
import os
import sys
from pathlib import Path

import pytest
import torch

import tokprune
from tokprune.adapters import calls
from tokprune.errors import TokpruneError

from .seams import SEAMS, built, options_of, ways
from .traces import traces

FILES = str(Path(tokprune.__file__).parent)
ERRORS = (KeyboardInterrupt, RuntimeError)


@pytest.fixture(autouse=True)
def gradients_afterwards():
    """An error that is injected where a `with torch.no_grad()` ends leaves gradients off, for other tests too."""
    yield
    torch.set_grad_enabled(True)


class At:
    """Raises `error` in front of line number `at` of those of tokprune that run, and notes which run."""

    def __init__(self, at=None, error=KeyboardInterrupt):
        self.at, self.error, self.lines = at, error, []

    def _trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(FILES):
            return None
        if event == "line":
            self.lines.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.lines) == self.at:
                sys.settrace(None)
                raise self.error("injected")
        return self._trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


def applied(model, inputs, options, at):
    """An interrupted `apply` leaves nothing on the model."""
    before, handle = traces(model), None
    try:
        with at:
            handle = tokprune.apply(model, **options)
    except at.error:
        assert tokprune.handles_of(model) == []
        assert traces(model) == before
    else:
        handle.remove()
    assert traces(model) == before


def removed(model, inputs, options, at):
    """An interrupted `remove` is finished by another one."""
    before, handle = traces(model), tokprune.apply(model, **options)
    try:
        with at:
            handle.remove()
    except at.error:
        assert tokprune.handles_of(model) == [handle] * handle.active
    handle.remove()
    assert not handle.active
    assert traces(model) == before


def checked(model, inputs, options, at):
    """After an interrupted `check` the policy is on or off, and the handle says which."""
    before, plain = traces(model), ways(model)[0](model, inputs)
    handle = tokprune.apply(model, **options)
    pruned = ways(model)[0](model, inputs)
    try:
        with at:
            handle.check(inputs)
    except (at.error, TokpruneError):  # which says that a generation of the proof failed
        assert tokprune.handles_of(model) == [handle] * handle.active
    assert torch.equal(ways(model)[0](model, inputs), pruned if handle.active else plain)
    handle.remove()
    assert traces(model) == before


def called(model, inputs, options, at, way=0):
    """After an interrupted call the next one is what it would have been."""
    before = traces(model)
    handle = tokprune.apply(model, **options)
    pruned = ways(model)[way](model, inputs)
    try:
        with at:
            ways(model)[way](model, inputs)
    except at.error:
        pass
    assert torch.equal(ways(model)[way](model, inputs), pruned)
    handle.remove()
    assert traces(model) == before
    assert not calls._CALLS.left()


def generated(*given):
    """The same of a generation."""
    called(*given, way=-1)


def places(scenario, *given):
    """Where to raise: in front of the first and of the last run of each line."""
    scenario(*given, At())  # what is only done once in a process is done
    counted = At()
    scenario(*given, counted)
    runs = list(enumerate(counted.lines, start=1))
    return sorted({*{run: at for at, run in reversed(runs)}.values(), *{run: at for at, run in runs}.values()})


def try_all(scenario, seam, step):
    """Raise at one of `step` places."""
    model, inputs = built(SEAMS[seam][0])
    given = model, inputs, options_of(seam)
    ats = places(scenario, *given)
    for turn, at in enumerate(ats[step // 2 :: step]):
        injected = At(at, ERRORS[turn % 2])
        try:
            scenario(*given, injected)
        except BaseException as failure:
            failure.add_note(f"{injected.error.__name__} was raised in front of {injected.lines[at - 1]}")
            raise


SCENARIOS = {
    "apply": (applied, 80),
    "remove": (removed, 10),
    "check": (checked, 400),
    "call": (called, 90),
    "generate": (generated, 120),
}
"""Name -> what is interrupted, and in how many of its lines when it has to be quick (one of so many)."""


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seam", ["delegated", "inside", "decoder"])
def test_a_few_lines(seam, name):
    try_all(SCENARIOS[name][0], seam, SCENARIOS[name][1])


EVERY = bool(os.environ.get("EVERY_LINE"))
"""For a night: a check is many calls."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS if EVERY else ("apply", "remove", "call", "generate"))
@pytest.mark.parametrize("seam", SEAMS)
def test_more_lines(seam, name):
    """Of every seam. `EVERY_LINE=1` takes all lines of all of it."""
    try_all(SCENARIOS[name][0], seam, 1 if EVERY else SCENARIOS[name][1] // 2)


def test_a_copied_handle_is_the_same_handle():
    model, _ = built(SEAMS["layer"][0])
    before, handle = traces(model), tokprune.apply(model, **options_of("layer"))
    copy.copy(handle).remove()
    assert not handle.active
    assert traces(model) == before


def test_an_encoder_that_fails_leaves_no_reading_behind():
    model, inputs = built(SEAMS["decoder"][0])

    def fail(module, args):
        raise RuntimeError("broken")

    with tokprune.apply(model, **options_of("decoder")):
        for call in (model.encoder, model):
            given = inputs if call is model else {"pixel_values": inputs["pixel_values"]}
            with model.encoder.embeddings.register_forward_pre_hook(fail), pytest.raises(RuntimeError):
                call(**given)
            assert not calls._CALLS.left()


def test_a_call_belongs_to_its_owner_and_to_no_object_that_comes_to_its_place():
    owner, found = Owner(), set()
    calls.enter_call(owner, calls.Observation())
    number = id(owner)
    del owner
    for _ in range(1000):
        other = Owner()
        if id(other) == number:
            found.add(number)
            assert calls.current_call(other) is None
    assert found, "no object came to the same place"
    assert not calls._CALLS.left()


class Owner:
    """Whose call it is."""
