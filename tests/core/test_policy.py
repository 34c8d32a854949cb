"""Policy: a frozen choice that can be written down."""

import copy
import dataclasses
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokprune import (
    InvalidValueError,
    Policy,
    UnknownNameError,
    aggregators,
    list_scorers,
    reductions,
    scorers,
    selectors,
)
from tokprune.testing import keeps

POLICIES = st.builds(
    Policy,
    scorer=st.sampled_from([None, *list_scorers(), "catp-vote:layers=[0,2]", "random:seed=7"]),
    keep=keeps(32),
    aggregator=st.sampled_from([None, "borda", "copeland", "sum"]),
    selector=st.sampled_from(["top-k", "top-p"]),
    reduction=st.sampled_from(["prune", "merge", "mask"]),
    target=st.sampled_from([None, "query", "image"]),
    positions=st.sampled_from(["compact", "preserve"]),
    after=st.sampled_from([None, 13, 0.5, 1.0, (3, 6), "every"]),
    attention=st.sampled_from([None, "plain"]),
    inside=st.sampled_from([None, "encoder"]),
) | st.builds(Policy, reduction=st.just("merge"), attention=st.sampled_from([None, "plain", "proportional"]))


@given(policy=POLICIES)
def test_a_policy_prints_as_it_is_built(policy):
    assert eval(repr(policy)) == policy


@given(policy=POLICIES)
def test_a_policy_survives_json(policy):
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@given(policy=POLICIES)
def test_a_policy_survives_pickle_and_deepcopy_and_can_be_hashed(policy):
    for copied in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert copied == policy
        assert hash(copied) == hash(policy)


def test_names_and_objects_make_the_same_policy():
    by_name = Policy("catp-vote:layers=first", 8, "borda", "top-k", "merge")
    by_object = Policy(scorers.CatpVote("first"), 8, aggregators.Borda(), selectors.TopK(), reductions.Merge())
    assert by_name == by_object
    assert repr(by_name) == repr(by_object) == "Policy(scorer='catp-vote:layers=first', keep=8, reduction='merge')"


def test_other_choices_make_another_policy():
    policies = [
        Policy(),
        Policy(keep=0.25),
        Policy("l2-norm"),
        Policy(aggregator="sum"),
        Policy(selector="top-p"),
        Policy(reduction="mask"),
        Policy(target="query"),
        Policy(positions="preserve"),
        Policy(after=0.5),
        Policy(after=1),
        Policy(after="every"),
        Policy(inside="encoder"),
        Policy(reduction="merge"),
        Policy(reduction="merge", attention="plain"),
        Policy(reduction="merge", attention="proportional"),
    ]
    assert len(set(policies)) == len(policies)


def test_the_aggregator_is_the_scorers_own_unless_given():
    assert Policy("catp-vote").aggregator == aggregators.Borda()
    assert Policy("l2-norm").aggregator == aggregators.Total()
    assert Policy("catp-vote", aggregator="plurality").aggregator == aggregators.Plurality()


def test_the_aggregator_of_a_scorer_that_names_none_is_the_sum():
    @dataclasses.dataclass(frozen=True)
    class Mine:
        needs = ("tokens",)

        def __call__(self, signal):
            return ()

    assert Policy(Mine()).aggregator == aggregators.Total()
    assert "aggregator=" not in repr(Policy(Mine()))


def test_a_policy_without_a_scorer_gets_one_later_and_keeps_its_other_parts():
    policy = Policy(keep=3, selector="top-p", target="query", after=2)
    assert policy.scorer is None
    assert policy.aggregator is None
    assert repr(policy) == "Policy(keep=3, selector='top-p', target='query', after=2)"
    assert dataclasses.replace(policy, scorer="catp-vote") == Policy(
        "catp-vote", keep=3, selector="top-p", target="query", after=2
    )
    assert dataclasses.replace(Policy(aggregator="sum"), scorer="catp-vote") == Policy("catp-vote", aggregator="sum")
    assert policy.to_dict()["scorer"] is None


def test_where_each_token_stands_for_itself_plain_attention_is_no_other_policy():
    assert Policy("focus", attention="plain") == Policy("focus")
    assert hash(Policy("focus", attention="plain")) == hash(Policy("focus"))
    assert repr(Policy("focus", attention="plain")) == "Policy(scorer='focus', keep=0.5)"
    assert "attention" not in Policy("focus", attention="plain").to_dict()
    assert Policy("focus", reduction="merge", attention="plain").to_dict()["attention"] == "plain"


def test_another_reduction_asks_anew_how_attention_counts():
    assert dataclasses.replace(Policy("focus"), reduction="merge") == Policy("focus", reduction="merge")


@pytest.mark.parametrize("reduction", ["prune", "mask"])
def test_proportional_attention_without_groups_is_refused(reduction):
    with pytest.raises(
        InvalidValueError, match=rf"reduction '{reduction}' and selector 'top-k' each kept token stands"
    ):
        Policy(reduction=reduction, attention="proportional")


@pytest.mark.parametrize(("name", "value"), [("attention", "even"), ("attention", 1), ("inside", "decoder")])
def test_unknown_values_are_refused(name, value):
    with pytest.raises(InvalidValueError, match=f"{name} must be '.*' or None, got {value!r}"):
        Policy(**{name: value})


def test_what_is_written_down_is_complete():
    assert Policy("catp-vote").to_dict() == {
        "scorer": "catp-vote",
        "keep": 0.5,
        "aggregator": "borda",
        "selector": "top-k",
        "reduction": "prune",
        "target": None,
        "positions": Policy().positions,
        "after": None,
    }


def test_a_policy_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().keep = 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": 0}, "keep=0 would keep no token"),
        ({"keep": True}, "keep must be a number"),
        ({"positions": "packed"}, "positions must be 'compact' or 'preserve', got 'packed'"),
        ({"after": 0}, "after=0 names no layers; give a share of the depth"),
        ({"target": 3}, "target must be a name such as 'query', got 3"),
        ({"scorer": scorers.CatpVote}, "is a class"),
        ({"scorer": 3}, "is not a scorer"),
        ({"aggregator": 3}, "is not an aggregator"),
        ({"selector": "top-q"}, "did you mean 'top-"),
        ({"reduction": "merging"}, "did you mean 'merge'"),
        ({"scorer": "catp-vote:layers=middle"}, "layers must be 'all', 'first', 'last'"),
    ],
)
def test_a_wrong_part_is_refused_when_the_policy_is_made(wrong, message):
    with pytest.raises(InvalidValueError, match=message):
        Policy(**wrong)


DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scorer": DEEP}, "a list that cannot be printed .* is not a scorer"),
        ({"keep": DEEP}, "keep must be a number, got a list that cannot"),
        ({"target": DEEP}, "target must be a name such as 'query', got a list that"),
        ({"positions": [1]}, r"positions must be 'compact' or 'preserve', got \[1\]"),
        ({"after": DEEP}, "after=a list that cannot be printed"),
        ({"scorer": "catp-vote:layers={[]}"}, r"layers must be .*, got '{\[\]}'"),
        ({"scorer": "catp-vote:layers=" + "[" * 5000 + "]" * 5000}, "layers must be"),
        ({"scorer": "catp-vote:layers=" + "-" * 100_000 + "1"}, "layers must be"),
        *(({"scorer": f"random:seed={seed}"}, "random: seed must be an int") for seed in ("x", "None", "True", "1.5")),
        *(({"scorer": f"random:seed={seed}"}, "random: seed must be an int") for seed in ("1e999", 2**64, "[1]")),
    ],
    ids=range(15),
)
def test_values_that_no_component_can_use_are_refused_when_the_policy_is_made(wrong, message):
    with pytest.raises(InvalidValueError, match=message):
        Policy(**wrong)
    with pytest.raises(InvalidValueError, match=message):
        Policy.from_dict(wrong)


@pytest.mark.parametrize("wrong", [None, 3, "catp-vote", ["scorer"], DEEP])
def test_a_policy_is_read_from_a_mapping(wrong):
    with pytest.raises(InvalidValueError, match="a policy is read from a mapping with scorer, keep"):
        Policy.from_dict(wrong)


def test_an_unknown_part_in_a_dict_lists_the_parts():
    with pytest.raises(InvalidValueError, match="a policy has no 'ratio'; it has scorer, keep, "):
        Policy.from_dict({"scorer": "first", "ratio": 0.5})


def test_a_scorer_that_nobody_registered_works_but_cannot_be_written_down():
    @dataclasses.dataclass(frozen=True)
    class Mine(scorers.First):
        pass

    policy = Policy(Mine())
    assert "Mine()" in repr(policy)
    with pytest.raises(InvalidValueError, match=r"Mine\(\) is not registered.*register_scorers"):
        policy.to_dict()


def test_an_unknown_scorer_is_a_lookup_error():
    with pytest.raises(UnknownNameError, match="no scorer is called 'zzz'"):
        Policy("zzz")
