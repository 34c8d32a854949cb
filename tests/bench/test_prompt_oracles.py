"""Oracles of models that read image tokens: they say what the pruned model says, if they are handed what it kept."""

import itertools

import pytest
import torch

from tokprune import Policy
from tokprune.bench.oracle import Gift, new_tokens
from tokprune.bench.promptoracle import prompt_oracle_generate
from tokprune.bench.speed.block import Settings, measure_block
from tokprune.bench.speed.choices import recorded
from tokprune.bench.speed.yardstick import oracle_of
from tokprune.bench.tileoracle import tile_oracle_generate, tile_rows
from tokprune.errors import InvalidValueError
from tokprune.testing import tiny_embed, tiny_inside, tiny_mllama, tiny_qwen

OPTIONS = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
MADE = {
    "llava": (tiny_embed.tiny_llava, lambda: tiny_embed.prompts([[16], [16]], tiny_embed.pixels(2))),
    "qwen2.5-vl": (tiny_qwen.tiny_qwen2_5_vl, lambda: tiny_qwen.prompts([[(4, 6)], [(4, 6)]])),
    "mllama": (tiny_mllama.tiny_mllama, tiny_mllama.prompts),
}


class Clock:
    """Each mark is one later than the last."""

    name = "fake"

    def __init__(self):
        self.ticks = itertools.count()

    def settle(self):
        pass

    def mark(self):
        return next(self.ticks)

    def seconds(self, begin, end):
        return float(end - begin)


@pytest.fixture(scope="module", params=MADE)
def made(request):
    model, inputs = (make() for make in MADE[request.param])
    return model, {name: value for name, value in inputs.items() if name not in ("labels", "pixel_mask")}


def say(model, inputs, **more):
    with torch.no_grad():
        return new_tokens(model, inputs, model.generate(**inputs, **OPTIONS, **more))


def pruned_and_oracle(model, inputs, policy, **more):
    answer, choices, places = recorded(model, [policy], lambda: say(model, inputs, **more))
    return answer, oracle_of(model, inputs, choices, places)


@pytest.mark.parametrize(
    "way",
    [{}, {"positions": "preserve"}, {"reduction": "merge", "attention": "plain"}, {"scorer": "received-attention"}],
)
def test_the_oracle_says_what_the_pruned_model_says(made, way):
    model, inputs = made
    policy = Policy(**{"scorer": "l2-norm", "keep": 3, **way})
    if model.config.model_type == "mllama" and way.get("reduction"):
        with pytest.raises(InvalidValueError, match="merged tokens cannot be handed"):
            pruned_and_oracle(model, inputs, policy)
        return
    answer, oracle = pruned_and_oracle(model, inputs, policy)
    assert torch.equal(oracle(**OPTIONS), answer)
    assert not torch.equal(say(model, inputs), answer), "or pruning would change nothing here"


def test_the_oracle_knows_beams(made):
    model, inputs = made
    answer, oracle = pruned_and_oracle(model, inputs, Policy("l2-norm", keep=3), num_beams=3)
    assert torch.equal(oracle(**OPTIONS, num_beams=3), answer)


def test_what_the_oracle_is_handed_decides_what_it_says(made):
    model, inputs = made
    answer, oracle = pruned_and_oracle(model, inputs, Policy("l2-norm", keep=3))
    other = oracle_of(model, inputs, recorded(model, [Policy("first", keep=3)], lambda: say(model, inputs))[1], [])
    assert not torch.equal(other(**OPTIONS), answer)
    assert torch.equal(oracle(**OPTIONS), answer), "the model is as it was"


def test_with_every_row_the_oracle_is_generate(made):
    model, inputs = made
    answer = say(model, inputs)
    if model.config.model_type == "mllama":
        tiles = inputs["aspect_ratio_mask"].numel()
        rows = tile_rows(torch.ones(tiles, model.model.vision_model.num_patches - 1, dtype=torch.bool))
        assert torch.equal(tile_oracle_generate(model, inputs, rows, **OPTIONS), answer)
        return
    every = torch.arange(inputs["input_ids"].shape[1]).expand(len(answer), -1)
    for gift in (Gift(), Gift(every)):
        assert torch.equal(prompt_oracle_generate(model, inputs, gift, **OPTIONS), answer)


def test_stages_of_the_oracle_cost_what_those_of_the_pruned_model_cost(made):
    model, inputs = made
    block = measure_block(model, inputs, [Policy("first", keep=3)], Settings(3, repeats=1, warm_up=0), Clock())
    flops = {name: measured.flops for name, measured in block.variants.items()}
    assert all(count > 0 for measured in flops.values() for count in measured.values())
    same = ["encoder", "decode"] if model.config.model_type == "mllama" else list(flops["oracle"])
    assert [flops["pruned"][stage] for stage in same] == [flops["oracle"][stage] for stage in same]
    assert sum(flops["pruned"].values()) < sum(flops["unpruned"].values())
    assert block.variants["oracle"].steps == 2


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy("l2-norm", keep=3, reduction="mask"), "makes nothing shorter"),
        (Policy("catp-vote", keep=3), "one cut in front of the language model"),
    ],
)
def test_what_no_oracle_is_known_for_is_refused(policy, message):
    model, inputs = (make() for make in MADE["mllama"])
    with pytest.raises(InvalidValueError, match=message):
        pruned_and_oracle(model, inputs, policy)


def test_tiles_keep_cls_and_the_same_numbers():
    kept = torch.tensor([[True, False, True], [False, True, True]])
    assert tile_rows(kept).tolist() == [[0, 1, 3], [0, 2, 3]]
    with pytest.raises(InvalidValueError, match="the same number of kept tokens in every tile"):
        tile_rows(torch.tensor([[True, False], [True, True]]))


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def inside(request):
    return tiny_inside.tiny_inside(attention=request.param), tiny_inside.prompts()  # one prompt is padded


@pytest.mark.parametrize("way", [{"after": 1}, {"after": 3, "scorer": "l2-norm"}, {"scorer": "text-attention"}])
@pytest.mark.parametrize("more", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_the_oracle_inside_says_what_the_pruned_model_says(inside, way, more):
    model, inputs = inside
    policy = Policy(**{"scorer": "first", "keep": 3, **way})
    whole = say(model, inputs, **more)
    answer, oracle = pruned_and_oracle(model, inputs, policy, **more)
    assert torch.equal(oracle(**OPTIONS, **more), answer)
    assert torch.equal(say(model, inputs, **more), whole), "the model is as it was"


def test_stages_of_the_oracle_inside_cost_what_those_of_the_pruned_model_cost():
    model, inputs = tiny_inside.tiny_inside(), tiny_inside.prompts(pads=(0, 0))
    cut = Policy("first", keep=3, after=2)
    block = measure_block(model, inputs, [cut], Settings(3, repeats=1, warm_up=0), Clock())
    flops = {name: measured.flops for name, measured in block.variants.items()}
    assert flops["pruned"] == flops["oracle"]
    assert sum(flops["pruned"].values()) < sum(flops["unpruned"].values())


def test_what_layers_are_not_handed():
    model, inputs = tiny_inside.tiny_inside(), tiny_inside.prompts(pads=(0, 0))
    with pytest.raises(InvalidValueError, match="merged tokens cannot be handed to layers"):
        pruned_and_oracle(model, inputs, Policy("first", keep=3, after=2, reduction="merge", attention="plain"))
