"""`model.forward(...)` under wrappers: others keep it, compile it and copy it, and it stays the call of the module."""

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module

import tokprune
from tokprune import AdapterError, UnsupportedCallError
from tokprune.adapters import calls
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2
from tokprune.testing.tiny_embed import pixels, tiny_llava
from tokprune.testing.tiny_embed import prompts as image_prompts

from .seams import SEAMS, answer, built, options_of
from .traces import traces

KEEP = {"scorer": "first", "keep": 3}


@pytest.fixture(scope="module")
def llava():
    """A model of its own, that wrappers may change."""
    return tiny_llava()


@pytest.fixture(scope="module")
def inputs():
    return image_prompts([[16], [16]], pixels(2))


@torch.no_grad()
def called(model, inputs):
    """Logits of a call of the module."""
    return model(**inputs).logits


@torch.no_grad()
def direct(model, inputs):
    """Logits of a direct call."""
    return model.forward(**inputs).logits


@pytest.mark.parametrize("wrapper_first", [True, False])
@pytest.mark.parametrize("policy_first_off", [True, False])
def test_hooks_of_accelerate_and_a_policy_come_and_go_in_any_order(llava, inputs, wrapper_first, policy_first_off):
    plain, before = direct(llava, inputs), traces(llava)
    with tokprune.apply(llava, **KEEP):
        expected = direct(llava, inputs)
    if wrapper_first:
        add_hook_to_module(llava, ModelHook())
    handle = tokprune.apply(llava, **KEEP)
    if not wrapper_first:
        add_hook_to_module(llava, ModelHook())
    assert torch.equal(direct(llava, inputs), expected)
    assert torch.equal(called(llava, inputs), expected)
    if policy_first_off:
        handle.remove()
        assert torch.equal(direct(llava, inputs), plain)
        assert torch.equal(called(llava, inputs), plain)
        remove_hook_from_module(llava)
    else:
        remove_hook_from_module(llava)
        assert torch.equal(direct(llava, inputs), expected)
        assert torch.equal(called(llava, inputs), expected)
        handle.remove()
    assert torch.equal(direct(llava, inputs), plain)
    own = llava.__dict__.pop("forward", None)  # accelerate leaves the bound method there
    assert not isinstance(own, tokprune.adapters.hooks.MethodShim)
    assert traces(llava) == before


def test_a_call_that_breaks_off_leaves_no_note_of_it(llava, inputs):
    def interrupt(module, args):
        raise KeyboardInterrupt

    with tokprune.apply(llava, **KEEP):
        expected = called(llava, inputs)
        hook = llava.register_forward_pre_hook(lambda module, args: {}["missing"])
        with pytest.raises(KeyError):
            called(llava, inputs)
        hook.remove()
        assert torch.equal(direct(llava, inputs), expected)
        hook = llava.model.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            direct(llava, inputs)
        hook.remove()
        assert torch.equal(direct(llava, inputs), expected)


def test_a_forward_that_others_put_back_is_noticed(llava, inputs):
    before, plain = traces(llava), called(llava, inputs)
    with tokprune.apply(llava, **KEEP):
        llava.forward = type(llava).forward.__get__(llava)  # such as one that was kept from before the policy
        with pytest.raises(AdapterError, match=r"forward of this Llava.* was replaced .*handle\.remove.*apply again"):
            called(llava, inputs)
        del llava.forward
    assert torch.equal(called(llava, inputs), plain)
    assert traces(llava) == before


def test_a_call_in_the_middle_of_a_call_leaves_that_as_it_was(llava, inputs):
    others, seen = {**inputs, "pixel_values": -inputs["pixel_values"]}, []

    def inner(module, args):
        if not seen:
            seen.append(None)
            seen.append(called(llava, others))

    with tokprune.apply(llava, scorer="l2-norm", keep=3):
        expected, other = called(llava, inputs), called(llava, others)
        with llava.model.language_model.register_forward_pre_hook(inner):
            assert torch.equal(called(llava, inputs), expected)
    assert torch.equal(seen[1], other)


@torch.no_grad()
@pytest.mark.parametrize("seam", ["layer", "methods", "encoder's output", "decoder", "heads"])
def test_a_direct_call_is_pruned_at_every_pruning_point(seam):
    model, inputs = built(SEAMS[seam][0])
    with tokprune.apply(model, **options_of(seam)) as handle:
        expected = answer(model, inputs)
        counts = handle.report.counts
        handle.forget_report()
        assert torch.equal(answer(model.forward, inputs), expected)
        assert torch.equal(handle.report.counts, counts)


def test_a_replica_is_refused(llava, inputs):
    with tokprune.apply(llava, **KEEP) as handle:
        replica = llava._replicate_for_data_parallel()
        with pytest.raises(UnsupportedCallError, match="DataParallel"):
            replica(**inputs)
        assert handle.report is None
        called(llava, inputs)


def test_what_forward_calls_is_still_compiled():
    model, inputs, graphs = tiny_blip2("opt", shallow=True), prompts("opt"), []

    def backend(graph, examples):
        graphs.append(sum(node.op == "call_function" for node in graph.graph.nodes))
        return graph

    plain = called(model, inputs)
    torch._dynamo.reset()
    with tokprune.apply(model, **KEEP):
        expected = called(model, inputs)
        with torch.no_grad():
            found = torch.compile(model, backend=backend)(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found - plain).abs().max() > 0.1
    assert sum(graphs) > 100
    torch._dynamo.reset()


def test_a_call_interrupted_just_before_forward_leaves_no_note(llava, inputs):
    def interrupt(module, args):
        raise KeyboardInterrupt

    handle = tokprune.apply(llava, **KEEP)
    with llava.register_forward_pre_hook(interrupt), pytest.raises(KeyboardInterrupt):
        called(llava, inputs)
    assert calls._CALLS.left()  # torch runs no hook after an interrupt
    handle.remove()
    assert not calls._CALLS.left()
