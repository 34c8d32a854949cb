"""Several pruning points inside one language model: of one policy in equal steps, or of several policies."""

import contextlib

import pytest
import torch

import tokprune
from tokprune import UnsupportedCallError
from tokprune.adapters.upstream import cache_of
from tokprune.testing import tiny
from tokprune.testing.tiny_inside import DEPTH, TOKENS, prompts, shaped

from . import embed_oracle
from . import inside_oracle as oracle
from . import oracle as query_oracle
from .families import embedmerge, qformer, qwen
from .families.family import GENERATE, assert_same
from .inside import built, generate, logits, pruned
from .test_inside_families import layer_of
from .traces import traces

CLOSE = 1e-5


def first(images, *counts):
    """For each count, the first so many of the tokens of each image."""
    return [(torch.arange(TOKENS) < count).expand(images, TOKENS) for count in counts]


@contextlib.contextmanager
def hiding(model, inputs, places, kept):
    """Tokens are hidden from each of `places` on."""
    with contextlib.ExitStack() as stack:
        for place, stays in zip(places, kept, strict=True):
            stack.enter_context(oracle.hiding(model, inputs, stays, place))
        yield


@pytest.mark.parametrize("kind", ["llama", "windowed mistral", "gemma3"])
def test_one_policy_removes_equal_steps(kind):
    model, inputs = built(kind), prompts()
    before = traces(model)
    with pruned(model, scorer="first", keep=4, after=[1, 2, 3]) as handle:
        found, report = logits(model, inputs), handle.report
        new = {mode: generate(model, inputs, **options) for mode, options in GENERATE.items()}
        with torch.no_grad():
            cache = cache_of(model(**inputs))
    assert traces(model) == before
    assert [cache.get_seq_length(index) for index in range(DEPTH)] == [25, 21, 17, 13]
    assert (report.counts.tolist(), report.length_before, report.length_after) == ([4, 4], 25, 13)
    steps = first(2, 12, 8, 4)
    assert torch.equal(report.kept, steps[-1])
    with hiding(model, inputs, (1, 2, 3), steps):
        expected = oracle.filled(inputs, steps[-1], logits(model, inputs))
        for mode, options in GENERATE.items():
            assert torch.equal(generate(model, inputs, **options), new[mode]), mode
    assert_same(found, expected, CLOSE)


def test_votes_between_two_points_are_those_of_the_tokens_that_are_left():
    model, inputs = built(), prompts()
    with pruned(model, scorer="text-attention", keep=4, after=[1, 3]) as handle:
        logits(model, inputs)
        scores, kept = handle.report.scores, handle.report.kept
    assert scores.isfinite().all()
    assert kept.sum(dim=1).tolist() == [4, 4]


def test_steps_of_images_with_different_numbers_of_tokens_are_refused():
    model, inputs = built(shapes=True), shaped()
    with pruned(model, keep=2, after=[1, 2]), pytest.raises(UnsupportedCallError, match="different numbers of tokens"):
        logits(model, inputs)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["early first", "late first"])
@pytest.mark.parametrize("kind", ["llama", "windowed mistral", "gemma3"])
def test_two_policies_at_different_layers(kind, order):
    model, inputs = built(kind), prompts()
    before = traces(model)
    policies = [{"after": 1, "keep": 9, "scorer": "first"}, {"after": 3, "keep": 4, "scorer": "first"}]
    with contextlib.ExitStack() as stack:
        handles = {index: stack.enter_context(pruned(model, **policies[index])) for index in order}
        found = logits(model, inputs)
        new = {mode: generate(model, inputs, **options) for mode, options in GENERATE.items()}
        assert [(h.report.length_before, h.report.length_after) for _, h in sorted(handles.items())] == [
            (25, 18),
            (18, 13),
        ]
        assert handles[1].report.kept.shape == (2, 9)
    assert traces(model) == before
    steps = first(2, 9, 4)
    with hiding(model, inputs, (1, 3), steps):
        expected = oracle.filled(inputs, steps[-1], logits(model, inputs))
        for mode, options in GENERATE.items():
            assert torch.equal(generate(model, inputs, **options), new[mode]), mode
    assert_same(found, expected, CLOSE)


def test_the_later_of_two_policies_goes_on_when_the_earlier_is_removed():
    model, inputs = built(), prompts()
    with pruned(model, scorer="first", keep=4, after=3):
        alone = logits(model, inputs)
        with pruned(model, scorer="first", keep=8, after=1):
            assert not torch.equal(logits(model, inputs), alone)
        assert torch.equal(logits(model, inputs), alone)


def test_a_policy_that_keeps_all_lets_the_earlier_one_be():
    model, inputs = built(), prompts()
    with pruned(model, scorer="first", keep=4, after=1):
        alone, new = logits(model, inputs), generate(model, inputs)
        with pruned(model, scorer="first", keep=1.0, after=3):
            assert torch.equal(logits(model, inputs), alone)
            assert torch.equal(generate(model, inputs), new)


def test_sizes_are_carried_from_one_policy_to_the_next():
    model, inputs = built(), prompts()
    merging = {"scorer": "l2-norm", "reduction": "merge"}
    with pruned(model, keep=8, after=1, **merging) as early, pruned(model, keep=3, after=3, **merging) as late:
        entered = []
        new = {mode: generate(model, inputs, **options) for mode, options in GENERATE.items()}
        layers = model.model.language_model.layers
        hooks = [layers[place].register_forward_pre_hook(lambda _, args: entered.append(args[0])) for place in (1, 3)]
        found, reports = logits(model, inputs), [early.report, late.report]
        for hook in hooks:
            hook.remove()
    assert reports[1].sizes.sum(dim=1).tolist() == [TOKENS, TOKENS]
    places = [row.nonzero()[:, 0] for row in reports[0].kept]
    kept = torch.zeros_like(reports[0].kept)
    sizes = torch.zeros_like(reports[0].sizes)
    for image, own in enumerate(places):
        kept[image, own] = reports[1].kept[image]
        sizes[image, own] = reports[1].sizes[image]
    start = [int(row.int().argmax()) for row in oracle.image_tokens(inputs)]
    merged = [
        torch.cat([states[row, place : place + count] for row, place in enumerate(start)])
        for states, count in zip(entered, (8, 3), strict=True)
    ]
    # The sizes of the first hold in layers 1 and 2 alone.
    with (
        oracle.hiding(model, inputs, reports[0].kept, 1, reports[0].sizes, merged[0], until=3),
        oracle.hiding(model, inputs, kept, 3, sizes, merged[1]),
    ):
        expected = oracle.filled(inputs, kept, logits(model, inputs))
        for mode, options in GENERATE.items():
            assert torch.equal(generate(model, inputs, **options), new[mode]), mode
    assert_same(found, expected, CLOSE)


def test_steps_in_the_encoder_of_an_encoder_decoder():
    family = next(each for each in qformer.FAMILIES if each.name == "blip2 with t5, query tokens")
    model, inputs = family.build(), family.inputs()
    with tokprune.apply(model, target="query", scorer="first", keep=2, after=[1, 2]) as handle:
        found, new = family.answer(model, inputs), family.generate(model, inputs, "beams")
    assert handle.report.counts.tolist() == [2, 2]
    steps = [(torch.arange(8) < count).expand(2, 8) for count in (5, 2)]
    with hiding(model, inputs, (1, 2), steps):
        assert_same(found, family.answer(model, inputs), 2e-5)
        assert torch.equal(new, family.generate(model, inputs, "beams"))


def shorter_prompt(family, model, inputs, kept):
    """The ids of prompts from which tokens left in front of the language model."""
    if family.target == "query":
        fed = query_oracle.hand_fed(model, inputs, kept)
        return {"input_ids": fed.get("input_ids", inputs["input_ids"][:, 2:])}
    rows = embed_oracle.stays(inputs, embed_oracle.flat_kept(kept, family.tokens))
    return {"input_ids": embed_oracle.gather(inputs["input_ids"], rows)}


BOTH = ["llava", "llava-next", "gemma3", "blip2 with opt, query tokens", "blip2 with t5, query tokens"]
ALL = {family.name: family for family in (*embedmerge.FAMILIES, *qwen.FAMILIES, *qformer.FAMILIES)}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["front first", "inside first"])
@pytest.mark.parametrize("name", BOTH)
def test_one_policy_in_front_of_the_language_model_and_one_inside(name, order):
    family = ALL[name]
    model, inputs = family.build(), family.inputs()
    before = traces(model)
    policies = [{"keep": 6, "scorer": "first"}, {"keep": 3, "scorer": "first", "after": 1}]
    with contextlib.ExitStack() as stack:
        handles = {
            index: stack.enter_context(tokprune.apply(model, target=family.target, **policies[index]))
            for index in order
        }
        found = family.answer(model, inputs)
        new = {mode: family.new(model, inputs, family.generate(model, inputs, mode)) for mode in ("greedy", "beams")}
        assert [handles[index].report.counts.tolist() for index in (0, 1)] == [[6, 6], [3, 3]]
        assert handles[1].report.kept.shape == (2, 6)
    assert traces(model) == before
    kept = torch.arange(max(family.tokens)) < 6
    kept = kept.expand(2, -1)
    short = shorter_prompt(family, model, inputs, kept)
    with oracle.hiding(model, short, (torch.arange(6) < 3).expand(2, 6), 1):
        expected = family.oracle(model, inputs, kept)
        for mode, tokens in new.items():
            options = {"max_new_tokens": 5, **GENERATE[mode]}
            assert torch.equal(family.generated(model, inputs, kept, options), tokens), mode
    assert_same(found[:, -3:], expected[:, -3:], 2e-5)


@pytest.mark.parametrize("name", ["llava", "gemma3", "blip2 with opt, query tokens", "blip2 with t5, query tokens"])
def test_sizes_are_carried_from_in_front_of_the_language_model_to_its_layers(name):
    family = ALL[name]
    model, inputs, entered = family.build(), family.inputs(), []
    merging = {"scorer": "l2-norm", "reduction": "merge", "target": family.target}
    with (
        tokprune.apply(model, keep=6, **merging) as front,
        tokprune.apply(model, keep=3, after=1, **merging) as inside,
    ):
        new = {mode: family.new(model, inputs, family.generate(model, inputs, mode)) for mode in ("greedy", "beams")}
        hooks = [
            layer_of(model, place).register_forward_pre_hook(lambda _, args: entered.append(args[0]))
            for place in (0, 1)
        ]
        found, reports = family.answer(model, inputs), (front.report, inside.report)
        for hook in hooks:
            hook.remove()
    assert reports[1].sizes.sum(dim=1).tolist() == [family.tokens[0]] * 2
    kept, short = reports[0].kept, shorter_prompt(family, model, inputs, reports[0].kept)
    start = [int(row.int().argmax()) for row in oracle.image_tokens(short)]
    merged = [
        torch.cat([states[row, place : place + count] for row, place in enumerate(start)])
        for states, count in zip(entered, (6, 3), strict=True)
    ]
    sizes = reports[0].sizes[kept].view(2, 6)
    everything = torch.ones(2, 6, dtype=torch.bool)
    with (
        oracle.hiding(model, short, everything, 0, sizes, merged[0], until=1),
        oracle.hiding(model, short, reports[1].kept, 1, reports[1].sizes, merged[1]),
    ):
        expected = family.oracle(model, inputs, kept)
        for mode, tokens in new.items():
            options = {"max_new_tokens": 5, **GENERATE[mode]}
            assert torch.equal(family.generated(model, inputs, kept, options), tokens), mode
    assert_same(found[:, -3:], expected[:, -3:], 2e-5)


@pytest.mark.parametrize("reduction", ["prune", "merge"])
@pytest.mark.parametrize("family", ["llava", "qwen2-vl"])
def test_two_stages_need_the_cache_of_a_generation(family, reduction):
    model, inputs = tiny(family)
    policies = [tokprune.Policy("l2-norm", keep=0.5, reduction=reduction, after=after) for after in (None, 1)]
    with tokprune.apply(model, policies):
        with pytest.raises(UnsupportedCallError, match=r"use_cache=False.*leave use_cache on"):
            model.generate(**inputs, max_new_tokens=2, use_cache=False)
        assert model.generate(**inputs, max_new_tokens=2).shape[0] == len(inputs["input_ids"])
