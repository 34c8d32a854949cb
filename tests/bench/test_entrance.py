import pytest

from tokprune import Policy, apply
from tokprune.bench.answering import prepare
from tokprune.bench.entrance import watch_entrance
from tokprune.bench.noise import noise_samples

QUERY, IMAGE = Policy("first", keep=3), Policy("first", keep=5, target="image")


@pytest.mark.parametrize(
    ("policies", "dropped"), [([], 0), ([IMAGE], 0), ([QUERY], 5), ([IMAGE, QUERY], 5)], ids=["none", "i", "q", "both"]
)
def test_the_first_sequence_is_the_prompt_as_it_went_in(model, processor, policies, dropped):
    inputs = prepare(model, processor, noise_samples(2))
    with watch_entrance(model) as lengths:
        if policies:
            with apply(model, policies):
                model.generate(**inputs, max_new_tokens=3)
        else:
            model.generate(**inputs, max_new_tokens=3)
    assert lengths[0] == inputs["input_ids"].shape[1] - dropped


def test_nothing_stays_on_the_model(model):
    hooks = sum(len(module._forward_pre_hooks) for module in model.modules())
    with watch_entrance(model):
        assert sum(len(module._forward_pre_hooks) for module in model.modules()) == hooks + 1
    assert sum(len(module._forward_pre_hooks) for module in model.modules()) == hooks


def test_a_model_without_a_language_model_is_let_through(model):
    with watch_entrance(model.vision_model) as lengths:
        assert lengths == []
