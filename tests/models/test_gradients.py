"""Gradients reach the kept tokens and only them; checkpointing and inference mode change nothing."""

import copy

import pytest
import torch

import tokprune
from tokprune import UnsupportedCallError
from tokprune.testing.tiny_blip2 import prompts

from .calls import logits
from .keeping import keeping
from .oracle import hand_fed, some_kept
from .prompts import answers


def loss(model, kind, inputs):
    labels = answers(inputs) if kind == "opt" else inputs["input_ids"][:, -4:].contiguous()
    return model(**inputs, labels=labels, use_cache=False).loss


def gradients(model, kind, inputs):
    model.zero_grad()
    value = loss(model, kind, inputs)
    value.backward()
    return value.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(one, other, tolerance):
    assert torch.allclose(one[0], other[0], atol=tolerance)
    assert one[1].keys() == other[1].keys()
    assert all(torch.allclose(one[1][name], other[1][name], atol=tolerance) for name in one[1])


def test_gradients_flow_through_kept_tokens_and_only_through_them(fresh, kind, inputs):
    kept, noted = some_kept(2, 3), []

    def note(module, args, output):
        output.retain_grad()
        noted.append(output)

    fresh.language_projection.register_forward_hook(note)
    with tokprune.apply(fresh, **keeping(kept)):
        loss(fresh, kind, inputs).backward()
    reached = noted[0].grad.abs().sum(dim=-1) > 0
    assert torch.equal(reached, kept)
    assert fresh.query_tokens.grad.abs().max() > 0


def test_merged_tokens_pass_gradients_to_all(fresh, kind, inputs):
    noted = []
    fresh.language_projection.register_forward_hook(lambda m, a, out: (out.retain_grad(), noted.append(out))[1])
    with tokprune.apply(fresh, keep=3, reduction="merge"):
        loss(fresh, kind, inputs).backward()
    assert (noted[0].grad.abs().sum(dim=-1) > 0).all()


def test_gradients_are_those_of_the_tokens_fed_by_hand(fresh_opt):
    inputs, kept = prompts("opt"), some_kept(2, 3)
    fed = hand_fed(fresh_opt, inputs, kept)
    ids = fed.pop("input_ids")
    labels = answers({"input_ids": ids, "attention_mask": fed["attention_mask"]})
    fresh_opt.language_model(**fed, labels=labels).loss.backward()
    expected = fresh_opt.language_model.model.decoder.layers[0].fc1.weight.grad.clone()
    with tokprune.apply(fresh_opt, **keeping(kept)):
        _, found = gradients(fresh_opt, "opt", inputs)
    assert torch.allclose(found["language_model.model.decoder.layers.0.fc1.weight"], expected, atol=1e-5)


def checkpointed(model, reentrant):
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.language_model.modules())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize(("kind", "positions"), [("opt", "compact"), ("opt", "preserve"), ("t5", "compact")])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(fresh, kind, inputs, reentrant, positions):
    with tokprune.apply(fresh, keep=3, positions=positions):
        plain = gradients(fresh, kind, inputs)
        checkpointed(fresh, reentrant)
        same(gradients(fresh, kind, inputs), plain, 1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("treatment", [("prune", "preserve"), ("mask", "compact")], ids="-".join)
@pytest.mark.parametrize("kind", ["t5"])
def test_a_moved_relative_bias_does_not_survive_checkpointing_and_is_refused(fresh, kind, inputs, treatment):
    reduction, positions = treatment
    checkpointed(fresh, reentrant=True)
    with tokprune.apply(fresh, keep=3, reduction=reduction, positions=positions):
        with pytest.raises(UnsupportedCallError, match="gradient checkpointing"):
            loss(fresh, kind, inputs)
        assert torch.isfinite(logits(fresh, inputs)).all()  # without gradients nothing is computed again


def test_keeping_all_tokens_changes_no_gradient(fresh, kind, inputs):
    plain = gradients(fresh, kind, inputs)
    with tokprune.apply(fresh, keep=1.0):
        same(gradients(fresh, kind, inputs), plain, 1e-6)


def test_a_training_step_while_pruned_changes_the_weights(fresh, kind, inputs):
    before = copy.deepcopy(fresh.state_dict())
    with tokprune.apply(fresh, keep=3):
        gradients(fresh, kind, inputs)
        torch.optim.SGD(fresh.parameters(), lr=0.1).step()
    changed = [name for name, tensor in fresh.state_dict().items() if not torch.equal(tensor, before[name])]
    assert "query_tokens" in changed
    assert any(name.startswith("vision_model") for name in changed)


def test_inference_mode_gives_the_same_logits(model, inputs):
    with tokprune.apply(model, keep=3):
        expected = logits(model, inputs)
        with torch.inference_mode():
            assert torch.equal(logits(model, inputs), expected)
