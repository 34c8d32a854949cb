"""Target "image": handle.check proves that fewer image tokens really go on, or says what is wrong."""

import copy

import pytest
import torch

import tokprune
from tokprune import AdapterError, TokpruneError
from tokprune.testing.tiny_blip2 import prompts

from .calls import decoder, generate, logits
from .test_check import bypass, shapes
from .traces import hook_count, traces

OPTIONS = {"scorer": "received-attention", "keep": 4, "target": "image"}


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


@pytest.mark.parametrize("reduction", ["prune", "merge"])
@pytest.mark.parametrize("after", [1, 3, "every"])
def test_a_good_model_passes_and_gets_its_report(model, inputs, reduction, after):
    with tokprune.apply(model, reduction=reduction, after=after, **OPTIONS) as handle:
        expected, before = logits(model, inputs), traces(model)
        report = handle.check({**inputs, **decoder(model, inputs)})
        assert report is handle.report
        assert report.counts.tolist() == [4, 4]
        assert (report.length_before, report.length_after) == (17, 5)
        assert shapes(traces(model)) == shapes(before)
        assert torch.equal(logits(model, inputs), expected)


def test_keeping_all_passes(model, inputs):
    with tokprune.apply(model, **{**OPTIONS, "keep": 1.0}) as handle:
        assert handle.check({**inputs, **decoder(model, inputs)}).length_after == 17


@pytest.mark.parametrize("path", ["vision_model", "vision_model.encoder.layers.1"])
def test_an_encoder_whose_hooks_are_bypassed_fails(fresh_opt, path):
    bypass(fresh_opt.get_submodule(path))
    with tokprune.apply(fresh_opt, after=2, **OPTIONS) as handle:
        with pytest.raises(TokpruneError, match="cut was never reached: is the model compiled"):
            handle.check(prompts("opt"))
        assert handle.active


def test_an_attention_that_runs_past_its_tap_fails(fresh_opt):
    attention = fresh_opt.vision_model.encoder.layers[1].self_attn
    attention.forward = copy.deepcopy(attention).forward
    with tokprune.apply(fresh_opt, after=2, **OPTIONS) as handle:
        with pytest.raises(TokpruneError, match=r"layers \[1\] of 'encoder_attention' did not run"):
            handle.check(prompts("opt"))
        assert handle.active


def full_again(states):
    """As long as before the cut."""
    return torch.cat([states, states[:, 1:].repeat(1, 3, 1)], dim=1)[:, :17]


def behind_the_layer(model):
    model.vision_model.encoder.layers[1].register_forward_hook(lambda module, args, output: full_again(output))


def behind_the_encoder(model):
    def undo(module, args, output):
        output.last_hidden_state = full_again(output.last_hidden_state)
        return output

    model.vision_model.register_forward_hook(undo)


def before_the_reader(model):
    def undo(module, args, kwargs):
        states = full_again(kwargs["encoder_hidden_states"])
        return args, {**kwargs, "encoder_hidden_states": states, "encoder_attention_mask": torch.ones(2, 17).long()}

    model.qformer.register_forward_pre_hook(undo, with_kwargs=True)


@pytest.mark.parametrize("undo", [behind_the_layer, behind_the_encoder, before_the_reader])
def test_a_q_former_that_gets_the_full_sequence_after_all_fails(fresh_opt, undo):
    with tokprune.apply(fresh_opt, after=2, **OPTIONS) as handle:
        undo(fresh_opt)
        with pytest.raises(TokpruneError, match=r"reports 17 -> 5 tokens, but sequences of \[17\]"):
            handle.check(prompts("opt"))


def test_an_encoder_that_answers_differently_each_time_fails(fresh_opt):
    fresh_opt.vision_model.embeddings.register_forward_hook(lambda m, args, output: output + torch.randn_like(output))
    with (
        tokprune.apply(fresh_opt, **OPTIONS) as handle,
        pytest.raises(TokpruneError, match="changed the model's answer by up"),
    ):
        handle.check(prompts("opt"))


def test_a_removed_handle_cannot_be_checked(model, inputs):
    handle = tokprune.apply(model, **OPTIONS)
    handle.remove()
    with pytest.raises(TokpruneError, match="removed"):
        handle.check(inputs)


def test_a_model_in_training_mode_is_told_to_leave_it(fresh_opt):
    fresh_opt.train()
    with tokprune.apply(fresh_opt, **OPTIONS) as handle, pytest.raises(TokpruneError, match=r"model\.eval\(\)"):
        handle.check(prompts("opt"))


def test_a_failed_check_leaves_the_policy_on_the_model(model, inputs):
    with tokprune.apply(model, **OPTIONS) as handle:
        expected = logits(model, inputs)
        with pytest.raises(Exception, match=r".+"):
            handle.check({**inputs, "pixel_values": torch.randn(2, 3, 8, 8, 8)})
        assert tokprune.handles_of(model) == [handle]
        assert torch.equal(logits(model, inputs), expected)


LAYER = "vision_model.encoder.layers.1"


def replace(model, path, module):
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


@pytest.mark.parametrize(
    ("path", "scorer"),
    [(f"{LAYER}.self_attn", "received-attention"), (LAYER, "received-attention"), (LAYER, "first")],
)
def test_a_module_swapped_after_apply_is_named_in_a_clear_error(fresh_opt, path, scorer):
    inputs, original = prompts("opt"), fresh_opt.get_submodule(path)
    plain, other = logits(fresh_opt, inputs), copy.deepcopy(original)
    handle = tokprune.apply(fresh_opt, after=2, **{**OPTIONS, "scorer": scorer})
    replace(fresh_opt, path, other)
    for call in (logits, generate):
        with pytest.raises(AdapterError, match=rf"{path}.* replaced .*tokprune\.apply again"):
            call(fresh_opt, inputs)
    handle.remove()
    replace(fresh_opt, path, original)
    assert hook_count(fresh_opt) == 0
    assert torch.equal(logits(fresh_opt, inputs), plain)


def test_a_swapped_layer_that_nobody_looks_at_does_no_harm(fresh_opt):
    inputs, layers = prompts("opt"), fresh_opt.vision_model.encoder.layers
    other = copy.deepcopy(layers[0])
    with tokprune.apply(fresh_opt, after=2, **OPTIONS):
        expected = logits(fresh_opt, inputs)
        layers[0] = other
        assert torch.equal(logits(fresh_opt, inputs), expected)


def test_a_swapped_encoder_is_noticed_by_the_next_call_and_by_the_check(fresh_opt):
    other = copy.deepcopy(fresh_opt.vision_model)
    with tokprune.apply(fresh_opt, after=2, **OPTIONS) as handle:
        fresh_opt.vision_model = other
        with pytest.raises(TokpruneError, match=r"'vision_model' was replaced after tokprune.apply"):
            logits(fresh_opt, prompts("opt"))
        with pytest.raises(TokpruneError, match=r"vision_model.* replaced|never reached"):
            handle.check(prompts("opt"))
