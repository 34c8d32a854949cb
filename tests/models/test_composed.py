"""Policies for both targets in one apply: image tokens inside the encoder, query tokens behind the Q-Former."""

import copy
import io
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import tokprune
from tokprune import AdapterError, AlreadyAppliedError, InvalidValueError, Policy, TokpruneError
from tokprune.testing.tiny_blip2 import prompts, with_attention

from .calls import MODES, answer, decoder, generate, logits
from .image_oracle import encode, feed, last_layer
from .oracle import best, borda_points, oracle_answer, oracle_logits
from .prompts import BATCHES
from .test_removal import Broken, BrokenScorer, call_and_fail
from .test_threads import run_together
from .traces import hook_count, traces

IMAGE = Policy("received-attention", keep=4, target="image", after=(1, 2))
QUERY = Policy("catp-vote", keep=3)
COUNTS = {1: 10, 2: 4}


@torch.no_grad()
def attention(model, states):
    """The Q-Former's cross-attention maps over what the encoder gave, computed by transformers itself."""
    eager, seen = with_attention(model.qformer, "eager"), []
    for layer in eager.encoder.layer:
        if layer.has_cross_attention:
            layer.crossattention.attention.register_forward_hook(lambda m, args, output: seen.append(output[1]))
    eager(query_embeds=model.query_tokens.expand(len(states), -1, -1), encoder_hidden_states=states)
    return seen


@torch.no_grad()
def both_by_hand(model, inputs, weighted=False):
    """The encoder's part, the query tokens that are kept, and the arguments for the bare language model."""
    encoded = encode(model, inputs["pixel_values"], COUNTS, last_layer)
    weights = encoded.maps[-1].sum(dim=(1, 2)).softmax(dim=1) if weighted else None
    kept = best(borda_points(attention(model, encoded.states), weights), 3)
    return encoded, kept, feed(model, inputs, encoded.states, kept)


@pytest.mark.parametrize("batch", BATCHES)
def test_both_cuts_together_are_both_by_hand(model, kind, batch):
    inputs = prompts(kind, **BATCHES[batch])
    encoded, kept, fed = both_by_hand(model, inputs)
    with tokprune.apply(model, [IMAGE, QUERY]) as handles:
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, fed))
    assert torch.equal(handles.reports["image"].kept, encoded.kept)
    assert torch.equal(handles.reports["query"].kept, kept)


@pytest.mark.parametrize("mode", ["greedy", "beams", "sampling"])
def test_both_cuts_together_generate_what_both_by_hand_do(model, inputs, mode):
    _, _, fed = both_by_hand(model, inputs)
    with tokprune.apply(model, [IMAGE, QUERY]):
        output = generate(model, inputs, **MODES[mode])
    assert torch.equal(answer(model, inputs, output), oracle_answer(model, fed, **MODES[mode]))


def test_weighted_votes_see_the_shorter_attention_of_the_encoder(model, inputs):
    _, kept, fed = both_by_hand(model, inputs, weighted=True)
    with tokprune.apply(model, [IMAGE, Policy("catp-weighted", keep=3)]) as handles:
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, fed))
    assert torch.equal(handles.reports["query"].kept, kept)


def test_fewer_image_tokens_can_elect_other_query_tokens(model, kind):
    inputs, kept = prompts(kind, images=(1,) * 4, pads=(0,) * 4), []
    for policies in ([QUERY], [IMAGE, QUERY]):
        with tokprune.apply(model, policies) as handles:
            logits(model, inputs)
        kept.append(handles.reports["query"].kept)
    assert not torch.equal(*kept)


def test_keeping_all_of_both_changes_no_bit(model, inputs):
    before = logits(model, inputs), generate(model, inputs)
    policies = [Policy("received-attention", keep=1.0, target="image", after="every"), Policy(keep=1.0)]
    with tokprune.apply(model, policies):
        assert torch.equal(logits(model, inputs), before[0])
        assert torch.equal(generate(model, inputs), before[1])


@pytest.mark.parametrize("query", [{"positions": "preserve"}, {"reduction": "mask"}], ids=str)
def test_the_order_of_the_list_does_not_matter(model, inputs, query):
    found = []
    for policies in ([IMAGE, Policy(keep=3, **query)], [Policy(keep=3, **query), IMAGE]):
        with tokprune.apply(model, policies) as handles:
            found.append((logits(model, inputs), generate(model, inputs)))
        assert [handle.target for handle in handles] == [policy.target or "query" for policy in policies]
        assert handles.reports["image"].counts.tolist() == [4, 4]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_each_target_has_a_report_of_its_own(model, inputs):
    with tokprune.apply(model, [IMAGE, QUERY]) as handles:
        assert handles.reports == {"image": None, "query": None}
        logits(model, inputs)
    image, query = handles.reports["image"], handles.reports["query"]
    assert (image.kept.shape, image.length_before, image.length_after) == ((2, 16), 17, 5)
    assert (query.kept.shape, query.length_before, query.length_after) == ((2, 8), 14, 9)


def test_one_after_the_other_is_as_good_as_both_at_once(model, inputs):
    with tokprune.apply(model, [IMAGE, QUERY]):
        expected = logits(model, inputs), generate(model, inputs)
    with tokprune.apply(model, QUERY), tokprune.apply(model, IMAGE):
        assert torch.equal(logits(model, inputs), expected[0])
        assert torch.equal(generate(model, inputs), expected[1])


def at_once(handles):
    handles.remove()
    handles.remove()


def first_first(handles):
    for handle in handles:
        handle.remove()


def last_first(handles):
    for handle in reversed(handles):
        handle.remove()


@pytest.mark.parametrize("remove", [at_once, first_first, last_first])
def test_they_can_be_removed_in_any_order(model, inputs, remove):
    before = traces(model), hook_count(model), logits(model, inputs), generate(model, inputs)
    handles = tokprune.apply(model, [IMAGE, QUERY])
    assert tokprune.handles_of(model) == list(handles)
    logits(model, inputs)
    assert handles.active
    remove(handles)
    assert not handles.active
    assert tokprune.handles_of(model) == []
    assert (traces(model), hook_count(model)) == before[:2]
    assert torch.equal(logits(model, inputs), before[2])
    assert torch.equal(generate(model, inputs), before[3])


@pytest.mark.parametrize("gone", [0, 1])
def test_removing_one_leaves_the_other(opt, gone):
    model, inputs = opt, prompts("opt")
    with tokprune.apply(model, [IMAGE, QUERY][1 - gone]):
        expected = logits(model, inputs)
    with tokprune.apply(model, [IMAGE, QUERY]) as handles:
        handles[gone].remove()
        assert torch.equal(logits(model, inputs), expected)
        assert tokprune.handles_of(model) == [handles[1 - gone]]
        assert handles.active


def test_both_are_checked_with_the_other_in_place(model, inputs):
    whole = {**inputs, **decoder(model, inputs)}
    with tokprune.apply(model, [IMAGE, QUERY]) as handles:
        expected = logits(model, inputs)
        for reports in (handles.check(whole), handles.reports):
            assert {target: report.length_after for target, report in reports.items()} == {"image": 5, "query": 9}
        assert torch.equal(logits(model, inputs), expected)
        handles.remove()
        with pytest.raises(TokpruneError, match="removed"):
            handles.check(whole)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_policy_that_fails_in_a_call_leaves_the_other_and_the_model_alone(opt, broken):
    model, inputs = opt, prompts("opt")
    policies = [IMAGE, QUERY]
    policies[broken] = Policy(BrokenScorer(), target=("image", "query")[broken])
    before, plain = traces(model), logits(model, inputs)
    with tokprune.apply(model, policies) as handles:
        call_and_fail(model, inputs)
        handles[broken].remove()
        assert logits(model, inputs).isfinite().all()
    assert traces(model) == before
    assert torch.equal(logits(model, inputs), plain)


@dataclass(frozen=True)
class SecondFails:
    """The usual adapter, but it cannot attach to the query tokens."""

    error: ClassVar = Broken

    def matches(self, model):
        return True

    def offers(self, model):
        return tokprune.adapter_for(model).offers(model)

    def attach(self, model, cut, done, owner):
        if cut.target == "query":
            assert hook_count(model) > 0  # the first sits on it already
            raise self.error
        return tokprune.adapter_for(model).attach(model, cut, done, owner)


class Interrupted(SecondFails):
    error = KeyboardInterrupt


@pytest.mark.parametrize("adapter", [SecondFails(), Interrupted()])
def test_if_the_second_cannot_be_attached_the_first_is_taken_off_again(opt, adapter):
    before = traces(opt), hook_count(opt)
    with pytest.raises(adapter.error):
        tokprune.apply(opt, [IMAGE, QUERY], adapter=adapter)
    assert (traces(opt), hook_count(opt)) == before
    assert tokprune.handles_of(opt) == []


REFUSED = {
    "one target twice": (
        [IMAGE, Policy("l2-norm", target="image")],
        {},
        "prune target 'image' at the same place",
    ),
    "the first target twice": (
        [QUERY, Policy(target="query")],
        {},
        "2 of the policies prune target 'query'",
    ),
    "policies and parts": ([IMAGE, QUERY], {"keep": 3}, r"give a policy or its parts, not both: .*keep="),
    "policies and a place": ([IMAGE], {"after": 2}, r"not both: .*after="),
    "an empty list": ([], {}, "policy is an empty list; give at least one"),
    "a name": (
        ["l2-norm"],
        {},
        r"a tokprune\.Policy, or a list of them, got \['l2-norm'\]; a scorer is given as",
    ),
    "a text": ("l2-norm", {}, "must be a tokprune.Policy, or a list of them, got 'l2-norm'; a scorer is given as"),
    "a dict": ([IMAGE, QUERY.to_dict()], {}, r"must be a tokprune\.Policy, or a list"),
    "a set": ({IMAGE, QUERY}, {}, r"must be a tokprune\.Policy, or a list"),
    "a layer that is not there": ([QUERY, Policy(**{**vars(IMAGE), "after": 9})], {}, "there are 3 layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_anything_changes(opt, case):
    policies, options, message = REFUSED[case]
    before = traces(opt)
    with pytest.raises(InvalidValueError, match=message):
        tokprune.apply(opt, policies, **options)
    assert traces(opt) == before
    assert tokprune.handles_of(opt) == []


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Policy("catp-vote", target="image"), "needs 'cross_attention'.*target 'image' offers"),
        (Policy("l2-norm", after=1.0), "nothing is left to save"),
        (Policy("l2-norm", target="audio"), "its targets: 'query', 'image'"),
    ],
    ids=str,
)
def test_one_that_does_not_fit_keeps_the_others_off_the_model(opt, second, message):
    before = traces(opt)
    first = QUERY if second.target == "image" else IMAGE
    with pytest.raises(AdapterError, match=message):
        tokprune.apply(opt, [first, second])
    assert traces(opt) == before


def test_a_target_that_is_taken_is_refused_and_what_is_there_stays(opt):
    model, inputs = opt, prompts("opt")
    with tokprune.apply(model, IMAGE) as handle:
        expected, before = logits(model, inputs), traces(model)
        with pytest.raises(AlreadyAppliedError, match=r"already carries .* target 'image'"):
            tokprune.apply(model, [QUERY, IMAGE])
        assert traces(model) == before
        assert tokprune.handles_of(model) == [handle]
        assert torch.equal(logits(model, inputs), expected)


def test_a_list_of_one_gives_handles_and_one_policy_a_handle(opt):
    with tokprune.apply(opt, (IMAGE,)) as several:
        assert [type(several).__name__, len(several)] == ["Handles", 1]
    with tokprune.apply(opt, IMAGE) as one:
        assert type(one).__name__ == "Handle"


def test_weights_of_tokens_that_left_behind_the_last_layer_are_refused(opt):
    model, inputs = opt, prompts("opt")
    before = traces(model), logits(model, inputs)
    policies = [Policy("received-attention", keep=4, target="image", after="every"), Policy("catp-weighted", keep=3)]
    with tokprune.apply(model, policies):
        call_and_fail(model, inputs, InvalidValueError)
    assert traces(model) == before[0]
    assert torch.equal(logits(model, inputs), before[1])


def test_a_copy_and_a_saved_model_carry_both(fresh, inputs):
    plain = logits(fresh, inputs)
    with tokprune.apply(fresh, [QUERY, IMAGE]):
        pruned, stream = logits(fresh, inputs), io.BytesIO()
        torch.save(fresh, stream)
        copies = [copy.deepcopy(fresh), torch.load(io.BytesIO(stream.getvalue()), weights_only=False)]
    for twin in copies:
        assert torch.equal(logits(twin, inputs), pruned)
        assert [handle.target for handle in tokprune.handles_of(twin)] == ["query", "image"]
        for handle in tokprune.handles_of(twin):
            handle.remove()
        assert torch.equal(logits(twin, inputs), plain)
    assert torch.equal(logits(fresh, inputs), plain)


def test_threads_get_their_own_results(opt):
    sizes = enumerate([(1, 1), (1, 2)])
    model, batches = opt, [prompts("opt", images=images, pads=(0, n), seed=n) for n, images in sizes]
    with tokprune.apply(model, [IMAGE, QUERY]):
        expected = [logits(model, inputs) for inputs in batches]

        def job(number):
            for turn in range(3):
                index = (number + turn) % 2
                assert torch.equal(logits(model, batches[index]), expected[index])

        run_together([lambda n=n: job(n) for n in range(2)])
