"""What holds for every family: keep=1.0 changes no bit, keep=k is the oracle, and nothing is left behind."""

import copy
import inspect
import warnings

import pytest
import torch

import tokprune
from tokprune.bound import adapter_name
from tokprune.errors import AdapterError, AlreadyAppliedError, InvalidValueError
from tokprune.fit import adapter_for, bound_to, fitting_scorers
from tokprune.outputs import answer_of
from tokprune.testing import check_adapter

from .families.every import FAMILIES, GENERATING, ONE_OF_EACH_KIND, SLOW_UNLESS_FIRST
from .families.family import GENERATE, assert_same, some_kept
from .keeping import Keep, keeping
from .traces import same_weights, traces, weights

_BUILT = {}


def lent(family):
    """The family's model, built once; a test must leave it as it came."""
    if family.build not in _BUILT:
        model = family.build()
        family.answer(model, family.inputs())
        if family.generated is not None:
            family.generate(model, family.inputs(), "greedy")  # transformers notes things at first calls
        _BUILT[family.build] = model
    return _BUILT[family.build]


@pytest.fixture(params=FAMILIES, ids=str)
def family(request):
    """One family."""
    return request.param


@pytest.fixture
def model(family):
    """Its model, shared: a test that leaves anything on it fails."""
    shared = lent(family)
    before = traces(shared)
    yield shared
    after = traces(shared)
    if after != before:
        _BUILT.clear()
    assert after == before, "the test left something on a shared model"


def applied(model, family, **options):
    """A policy on the family's target, in the family's way."""
    return tokprune.apply(model, target=family.target, **{**family.options, **options})


def chosen(family, counts=(3,), seed=3):
    """Which tokens stay, and what makes them stay; the images take turns with `counts`."""
    kept = some_kept(family.tokens, [counts[image % len(counts)] for image in range(len(family.tokens))], seed)
    if len(counts) > 1:
        return kept, keeping(kept, family.tokens)
    return kept, {"scorer": Keep(kept, family.tokens), "keep": counts[0]}


def test_the_adapter_is_found_and_offers_the_target(family, model):
    adapter = adapter_for(model)
    assert adapter_name(adapter) == family.adapter
    assert family.target in adapter.offers(model)


def test_the_scorers_that_fit_are_known(family, model):
    offered = bound_to(model).offers_after(family.target, *(family.options.get(name) for name in ("after", "inside")))
    assert set(fitting_scorers(family.target, offered)) == set(family.scorers)
    before = traces(model)
    for scorer in set(tokprune.list_scorers()) - set(family.scorers):
        with pytest.raises(AdapterError, match=f"'{family.target}' offers .* Fitting scorers: "):
            applied(model, family, scorer=scorer)
    assert traces(model) == before


def test_a_policy_without_a_scorer_takes_one_that_fits(family, model):
    with applied(model, family) as handle:
        assert handle.policy.scorer is not None
        family.answer(model, family.inputs())
    assert handle.report.counts.tolist() == [round(0.5 * tokens) for tokens in family.tokens]
    assert tokprune.Policy.from_dict(handle.policy.to_dict()) == handle.policy
    named = {name for name, spec in getattr(handle.adapter, "default_scorers", {}).items() if spec}
    assert named <= set(handle.adapter.offers(model))


def test_every_scorer_that_fits_runs(family, model):
    for scorer in family.scorers:
        with applied(model, family, scorer=scorer, keep=2) as handle:
            family.answer(model, family.inputs())
        assert handle.report.counts.tolist() == [2] * len(family.tokens), scorer
        assert handle.report.length_after < handle.report.length_before


def test_keeping_all_tokens_changes_no_bit(family, model):
    for name, inputs in {"the usual batch": family.inputs, **family.several}.items():
        before = family.answer(model, inputs())
        for scorer in family.scorers:
            with applied(model, family, scorer=scorer, keep=1.0) as handle:
                assert torch.equal(family.answer(model, inputs()), before), (name, scorer)
            assert handle.report.length_before == handle.report.length_after
        assert torch.equal(family.answer(model, inputs()), before), name


def test_the_answer_is_that_of_the_kept_tokens_alone(family, model):
    before = family.answer(model, family.inputs())
    kept, policy = chosen(family)
    expected = family.oracle(model, family.inputs(), kept)
    with applied(model, family, **policy) as handle:
        found = family.answer(model, family.inputs())
    assert torch.equal(handle.report.kept.cpu(), kept)
    assert_same(found, expected, family.tolerance)
    assert torch.equal(family.answer(model, family.inputs()), before)
    matters = ~expected.isnan()
    assert found.shape != before.shape or (found - before)[matters].abs().max() > 1e-3  # or all this proves nothing


def test_images_may_keep_different_numbers_of_tokens_or_are_refused(family, model):
    kept, policy = chosen(family, (2, 4))
    if not family.uneven:
        with pytest.raises(AdapterError, match="selector"):
            applied(model, family, **policy)
        return
    expected = family.oracle(model, family.inputs(), kept)
    with applied(model, family, **policy):
        assert_same(family.answer(model, family.inputs()), expected, max(family.tolerance, family.gaps))


def test_removing_gives_the_model_back(family):
    model = copy.deepcopy(lent(family))
    before, answer, stored = traces(model), family.answer(model, family.inputs()), weights(model)
    handle = applied(model, family, scorer="first", keep=2)
    with pytest.raises(AlreadyAppliedError):
        applied(model, family, scorer="first", keep=3)
    assert same_weights(model.state_dict(), stored)
    pruned = family.answer(model, family.inputs())
    twin = copy.deepcopy(model)
    handle.remove()
    handle.remove()
    assert traces(model) == before
    assert torch.equal(family.answer(model, family.inputs()), answer)
    assert torch.equal(family.answer(twin, family.inputs()), pruned)


def test_an_exception_in_the_middle_leaves_nothing_behind(family, model):
    class Broken:
        needs = ()
        aggregator = "sum"

        def __call__(self, signal):
            raise KeyError("in the middle")

    before = family.answer(model, family.inputs())
    with applied(model, family, scorer=Broken(), keep=2), pytest.raises(KeyError):
        family.answer(model, family.inputs())
    assert torch.equal(family.answer(model, family.inputs()), before)


@pytest.mark.parametrize("keep", [0, 1.5, float("nan"), True, -1])
@pytest.mark.parametrize("family", FAMILIES[:1], ids=str)  # a policy refuses them, whatever it is applied to
def test_a_keep_that_cannot_be_is_refused(family, model, keep):
    before = traces(model)
    with pytest.raises(InvalidValueError):
        applied(model, family, scorer="first", keep=keep)
    assert traces(model) == before


def test_more_tokens_than_there_are_cannot_be_kept(family, model):
    before = traces(model)
    with pytest.raises(InvalidValueError), applied(model, family, scorer="first", keep=10_000):
        family.answer(model, family.inputs())
    assert traces(model) == before


@pytest.mark.parametrize("family", SLOW_UNLESS_FIRST, ids=str)
def test_half_precision_keeps_as_many(family):
    model = copy.deepcopy(lent(family)).to(torch.bfloat16)
    inputs = {
        name: value.to(torch.bfloat16) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in family.inputs().items()
    }
    before = family.answer(model, inputs)
    for scorer in family.scorers:
        with applied(model, family, scorer=scorer, keep=0.5) as handle:
            assert family.answer(model, inputs).isfinite().all(), scorer
        assert handle.report.counts.tolist() == [round(0.5 * tokens) for tokens in family.tokens], scorer
    with applied(model, family, scorer="first", keep=1.0):
        assert torch.equal(family.answer(model, inputs), before)


def test_a_direct_call_of_forward_is_the_call_of_the_model(family, model):
    inputs = family.inputs()
    signature, plain = inspect.signature(model.forward), family.answer(model, inputs)
    with applied(model, family, scorer="first", keep=2) as handle:
        expected, last = family.answer(model, inputs), handle.report
        with torch.no_grad():
            assert torch.equal(answer_of(model.forward(**inputs)), expected)
        assert handle.report is not last
        assert inspect.signature(model.forward) == signature
        assert torch.equal(family.answer(model, inputs), expected)
    with torch.no_grad():
        assert torch.equal(answer_of(model.forward(**inputs)), plain)


def test_merging_gives_another_answer_than_pruning(family, model):
    _, policy = chosen(family)
    with applied(model, family, **policy):
        pruned = family.answer(model, family.inputs())
    with applied(model, family, **policy, reduction="merge") as handle:
        merged = family.answer(model, family.inputs())
    assert handle.report.sizes.sum(dim=1).tolist() == pytest.approx(list(family.tokens))
    assert merged.shape == pruned.shape
    assert (merged - pruned).abs().max() > 1e-4


def test_the_model_passes_its_own_check(family, model):
    with warnings.catch_warnings(), applied(model, family, scorer="l2-norm", keep=0.5) as handle:
        warnings.filterwarnings("error", message="handle.check did not prove")
        report = handle.check(family.inputs())
    assert report.length_after < report.length_before


FIRST = {family.adapter: family for family in reversed(FAMILIES)}.values()
VARIANTS = {(family.build, family.inputs): family for family in FAMILIES if family not in FIRST}.values()


@pytest.mark.parametrize(
    ("family", "batch"),
    [
        pytest.param(family, batch, marks=[] if family in ONE_OF_EACH_KIND else [pytest.mark.slow])
        for family in FAMILIES
        for batch in family.several
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:handle.check did not prove", "ignore:pixel_values_videos came")
def test_the_check_blames_no_other_batch(family, model, batch):
    with applied(model, family, keep=0.5) as handle:
        assert handle.check(family.several[batch]()) is handle.report


@pytest.mark.slow  # an example of each adapter is checked in tests/testing
@pytest.mark.parametrize("family", VARIANTS, ids=str)
def test_the_adapter_keeps_the_laws(family, model):
    check_adapter(adapter_for(model), model, family.inputs())


def test_all_batches_are_pruned(family, model):
    for name, inputs in family.several.items():
        with applied(model, family, scorer="first", keep=2) as handle:
            family.answer(model, inputs())
        assert set(handle.report.counts.tolist()) == {2}, name


generating = pytest.mark.parametrize(
    ("family", "mode"),
    [
        pytest.param(family, mode, marks=[] if mode == "greedy" or family in ONE_OF_EACH_KIND else [pytest.mark.slow])
        for family in GENERATING
        for mode in GENERATE
    ],
    ids=str,
)


@generating
def test_keeping_all_tokens_changes_no_generated_token(family, model, mode):
    before = family.generate(model, family.inputs(), mode)
    with applied(model, family, scorer="first", keep=1.0):
        assert torch.equal(family.generate(model, family.inputs(), mode), before)


@generating
def test_generated_tokens_are_those_of_the_kept_tokens_alone(family, model, mode):
    kept, policy = chosen(family)
    if not family.uneven:
        policy = {**policy, "selector": "top-k", "keep": 3}
    inputs = family.inputs()
    torch.manual_seed(7)
    expected = family.generated(model, inputs, kept, {"max_new_tokens": 5, **GENERATE[mode]})
    before = family.generate(model, family.inputs(), mode)
    with applied(model, family, **policy):
        found = family.generate(model, inputs, mode)
    assert found.shape == before.shape  # the prompt, where there is one, is whole again
    assert torch.equal(family.new(model, inputs, found), expected)
    if family.new_tokens is not None:
        prompt = before.shape[1] - family.new(model, inputs, before).shape[1]
        assert torch.equal(found[:, :prompt], before[:, :prompt])
    assert torch.equal(family.generate(model, family.inputs(), mode), before)
