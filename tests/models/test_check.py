"""handle.check proves on the user's own model that pruning works, or says what is wrong."""

import copy

import pytest
import torch

import tokprune
from tokprune import TokpruneError
from tokprune.testing.tiny_blip2 import PAD, prompts
from tokprune.verify import _Spy

from .calls import decoder, logits
from .traces import traces


@pytest.fixture
def whole(model, inputs):
    """Inputs that a forward can run on."""
    return {**inputs, **decoder(model, inputs)}


@pytest.mark.parametrize("reduction", ["prune", "merge", "mask"])
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_a_good_model_passes_and_gets_its_report(model, inputs, whole, reduction, positions):
    with tokprune.apply(model, keep=3, reduction=reduction, positions=positions) as handle:
        expected, before = logits(model, inputs), traces(model)
        report = handle.check(whole)
        assert report is handle.report
        assert report.counts.tolist() == [3, 3]
        assert report.length_after == (14 if reduction == "mask" else 9)
        assert tokprune.handles_of(model) == [handle]
        assert shapes(traces(model)) == shapes(before)
        assert torch.equal(logits(model, inputs), expected)


def shapes(found):
    """Traces with numbers of hooks instead of their identities."""
    return {name: (a, {kind: len(hooks) for kind, hooks in h.items()}) for name, (a, h, *_) in found.items()}


def test_labels_may_be_part_of_the_inputs(model, inputs):
    labels = inputs["input_ids"] if not model.language_model.config.is_encoder_decoder else torch.ones(2, 4).long()
    with tokprune.apply(model, keep=3) as handle:
        assert handle.check({**inputs, "labels": labels}).counts.tolist() == [3, 3]


def bypass(module):
    """What compiling a module early does: it runs, but its hooks do not."""
    module._compiled_call_impl = module.forward


def test_a_language_model_whose_hooks_are_bypassed_fails(fresh, inputs):
    bypass(fresh.language_model)
    with tokprune.apply(fresh, keep=3) as handle:
        assert handle.report is None
        with pytest.raises(TokpruneError, match="cut was never reached: is the model compiled"):
            handle.check({**inputs, **decoder(fresh, inputs)})
        assert handle.active


def test_an_attention_that_runs_past_its_tap_fails(fresh, inputs):
    attention = fresh.qformer.encoder.layer[2].crossattention.attention
    attention.forward = copy.deepcopy(attention).forward
    with tokprune.apply(fresh, keep=3) as handle:
        with pytest.raises(TokpruneError, match=r"layers \[1\] of 'cross_attention' did not run"):
            handle.check({**inputs, **decoder(fresh, inputs)})
        assert handle.active


def test_a_model_that_answers_differently_each_time_fails(fresh, inputs):
    fresh.language_projection.register_forward_hook(lambda m, args, output: output + torch.randn_like(output))
    with (
        tokprune.apply(fresh, keep=3) as handle,
        pytest.raises(TokpruneError, match="changed the model's answer by up to"),
    ):
        handle.check({**inputs, **decoder(fresh, inputs)})


def test_a_language_model_that_gets_the_full_sequence_after_all_fails(fresh_opt):
    inputs, full = prompts("opt"), {}
    fresh_opt.language_model.register_forward_pre_hook(lambda m, args, kwargs: full.update(kwargs), with_kwargs=True)
    with tokprune.apply(fresh_opt, keep=3) as handle:

        def undo(module, args, kwargs):
            return args, {**kwargs, "inputs_embeds": full["inputs_embeds"], "attention_mask": full["attention_mask"]}

        fresh_opt.language_model.get_decoder().register_forward_pre_hook(undo, with_kwargs=True)
        with pytest.raises(TokpruneError, match=r"reports 14 -> 9 tokens, but sequences of \[9, 14\]"):
            handle.check(inputs)


def test_a_prompt_as_long_as_the_image_encoders_sequence_passes(model, inputs, kind):
    longer = {**inputs}
    for name, fill in (("input_ids", PAD[kind]), ("attention_mask", 0)):
        longer[name] = torch.cat([torch.full((2, 3), fill), inputs[name]], dim=1)
    with tokprune.apply(model, keep=3) as handle:
        assert handle.check({**longer, **decoder(model, inputs)}).length_before == 17


def test_a_model_in_training_mode_is_told_to_leave_it(fresh, inputs):
    fresh.train()
    with tokprune.apply(fresh, keep=3) as handle, pytest.raises(TokpruneError, match=r"model\.eval\(\)"):
        handle.check({**inputs, **decoder(fresh, inputs)})


def test_a_removed_handle_cannot_be_checked(model, whole):
    handle = tokprune.apply(model, keep=3)
    handle.remove()
    with pytest.raises(TokpruneError, match="removed"):
        handle.check(whole)


def test_a_check_inside_a_call_says_that_it_cannot_be_had_there(opt, inputs):
    def processor(ids, scores):
        with pytest.raises(TokpruneError, match=r"inside a call of the .*; check before or after"):
            handle.check(inputs)
        seen.append(handle.active)
        return scores

    seen = []
    with tokprune.apply(opt, scorer="l2-norm", keep=3) as handle:
        expected = opt.generate(**inputs, max_new_tokens=2)
        assert torch.equal(opt.generate(**inputs, max_new_tokens=2, logits_processor=[processor]), expected)
        handle.check(inputs)
    assert seen == [True, True]


def test_a_failed_check_leaves_the_policy_on_the_model(model, inputs):
    wrong = prompts("opt", images=(1, 2), pads=(0, 0))
    with tokprune.apply(model, keep=3) as handle:
        expected = logits(model, inputs)
        with pytest.raises(Exception, match=r".+"):
            handle.check({**wrong, "pixel_values": torch.randn(2, 3, 16, 16)})
        assert tokprune.handles_of(model) == [handle]
        assert torch.equal(logits(model, inputs), expected)


def test_a_reader_that_takes_its_sequence_by_place_is_looked_at_and_its_parts_are_not():
    reader, lengths = torch.nn.Linear(4, 4), set()
    spy = _Spy([object()], lengths, reader)
    spy(torch.nn.Linear(4, 4), (torch.zeros(2, 7, 4),), {})
    spy(reader, (torch.zeros(2, 9, 4),), {"encoder_hidden_states": torch.zeros(2, 3, 4)})
    assert lengths == {3}
    spy(reader, (torch.zeros(2, 5, 4), torch.zeros(2, 6)), {})
    assert lengths == {3, 5}
