"""A handle that comes or goes while a call runs in another thread: that call ends as it began."""

import threading
from functools import partial

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import tokprune

from .seams import SEAMS, built, options_of, ways
from .traces import traces


class Paused:
    """A call in a thread of its own that stops in front of the module with number `at`, until it may go on."""

    def __init__(self, call, at=None):
        self.call, self.at, self.calls, self.result = call, at, 0, None
        self.reached, self.released = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self.result = self.call()
        except BaseException as failure:
            self.result = failure
        finally:
            self.reached.set()

    def _on_module(self, module, args):
        if threading.current_thread() is self.thread:
            self.calls += 1
            if self.calls == self.at:
                self.reached.set()
                self.released.wait(timeout=60)

    def __enter__(self):
        self.hook = register_module_forward_pre_hook(self._on_module)
        self.thread.start()
        self.reached.wait(timeout=60)
        return self

    def __exit__(self, *_):
        self.released.set()
        self.thread.join()
        self.hook.remove()
        if isinstance(self.result, BaseException):
            raise self.result


def places(call):
    """A few places in the middle of a call: numbers of modules."""
    with Paused(call) as counted:
        pass
    return sorted({max(2, round(part * counted.calls)) for part in (0.0, 0.3, 0.5, 0.8, 1.0)})


@pytest.mark.parametrize("seam", SEAMS)
def test_a_call_goes_on_pruned_when_the_handle_is_removed_and_no_new_one_begins(seam):
    model, inputs = built(SEAMS[seam][0])
    before = traces(model)
    for way in ways(model):
        plain = way(model, inputs)
        with tokprune.apply(model, **options_of(seam)) as handle:
            pruned = way(model, inputs)
            stops = places(partial(way, model, inputs))
        assert handle.report.counts.max() == 3
        for stop in stops:
            handle = tokprune.apply(model, **options_of(seam))
            with Paused(partial(way, model, inputs), stop) as paused:
                handle.remove()
                assert not handle.active
                assert tokprune.handles_of(model) == []
                assert torch.equal(way(model, inputs), plain), (way, stop)
            assert torch.equal(paused.result, pruned), (way, stop)
            assert traces(model) == before, (way, stop)


@pytest.mark.parametrize("seam", SEAMS)
def test_a_call_goes_on_unpruned_when_a_handle_comes(seam):
    model, inputs = built(SEAMS[seam][0])
    for way in ways(model):
        plain = way(model, inputs)
        with tokprune.apply(model, **options_of(seam)):
            pruned = way(model, inputs)
        for stop in places(partial(way, model, inputs)):
            with Paused(partial(way, model, inputs), stop) as paused:
                handle = tokprune.apply(model, **options_of(seam))
                assert torch.equal(way(model, inputs), pruned), (way, stop)
            handle.remove()
            assert torch.equal(paused.result, plain), (way, stop)


@pytest.mark.parametrize("seam", SEAMS)
def test_a_call_goes_on_with_its_policy_when_another_takes_its_place(seam):
    model, inputs = built(SEAMS[seam][0])
    other = {**options_of(seam), "keep": 1}
    for way in ways(model):
        with tokprune.apply(model, **options_of(seam)):
            pruned = way(model, inputs)
            stops = places(partial(way, model, inputs))[1::2]
        with tokprune.apply(model, **other):
            expected = way(model, inputs)
        for stop in stops:
            handle = tokprune.apply(model, **options_of(seam))
            with Paused(partial(way, model, inputs), stop) as paused:
                handle.remove()
                handle = tokprune.apply(model, **other)
                assert torch.equal(way(model, inputs), expected), (way, stop)
            assert torch.equal(paused.result, pruned), (way, stop)
            assert torch.equal(way(model, inputs), expected), (way, stop)
            handle.remove()


@pytest.mark.parametrize("seam", ["inside", "layer", "decoder"])
def test_a_call_that_removes_the_handle_itself_ends_pruned(seam):
    model, inputs = built(SEAMS[seam][0])
    before = traces(model)
    for way in ways(model):
        with tokprune.apply(model, **options_of(seam)) as handle:
            pruned = way(model, inputs)
        handle = tokprune.apply(model, **options_of(seam))
        module = next(child for child in model.modules() if not list(child.children()))
        hook = module.register_forward_hook(lambda *_, handle=handle: handle.remove())
        assert torch.equal(way(model, inputs), pruned)
        assert not handle.active
        hook.remove()
        assert traces(model) == before


@pytest.mark.parametrize("seam", ["inside", "layer", "decoder"])
def test_an_interrupted_call_does_not_keep_the_hooks_on_the_model(seam):
    model, inputs = built(SEAMS[seam][0])
    before = traces(model)
    handle = tokprune.apply(model, **options_of(seam))

    def interrupt(module, args):
        raise KeyboardInterrupt

    module = list(model.modules())[-1]
    for way in ways(model):
        with module.register_forward_pre_hook(interrupt), pytest.raises(KeyboardInterrupt):
            way(model, inputs)
    handle.remove()
    assert traces(model) == before
