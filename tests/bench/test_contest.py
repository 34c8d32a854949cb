import pytest

from tokprune import Policy
from tokprune.bench.answering import generate_answers, prepare
from tokprune.bench.certificate import certify
from tokprune.bench.contest import Contestant, Watcher, hold_contest
from tokprune.bench.measure import Examination
from tokprune.bench.noise import noise_samples
from tokprune.bench.row import Row
from tokprune.bench.store import RowStore
from tokprune.errors import InvalidValueError, TokpruneError
from tokprune.samples import Sample

SCORERS = ("l2-norm", "catp-vote", "first")
CONTESTANTS = [Contestant(name, Policy(scorer=name, keep=keep)) for name in SCORERS for keep in (0.5, 2)]


class Killed(BaseException):
    """Stands for a signal."""


class Recorder(Watcher):
    def __init__(self, kill_after=None):
        self.measured, self.found, self.samples, self.kill_after = [], [], 0, kill_after

    def row_started(self, label, number, total):
        if self.kill_after is not None and len(self.measured) == self.kill_after:
            raise Killed
        self.total = total

    def samples_done(self, count):
        self.samples += count

    def row_done(self, row, measured):
        (self.measured if measured else self.found).append(row.label)


@pytest.fixture(scope="module")
def examination(opt, processor):
    """Questions whose accepted answer is what the unpruned model says, but for the last."""
    samples = noise_samples(5)
    answers = generate_answers(opt, processor, prepare(opt, processor, samples), 4)
    known = [Sample(s.id, s.image, s.question, (a,), "noise") for s, a in zip(samples, answers, strict=True)]
    known[-1] = Sample("last", samples[-1].image, samples[-1].question, ("something else",), "else")
    return Examination(processor, known, max_new_tokens=4, batch_size=2)


@pytest.fixture
def store(opt, examination, tmp_path):
    return lambda: RowStore(tmp_path / "rows.jsonl", Row, certificate(opt, examination))


def certificate(model, examination):
    e = examination
    return certify(
        model,
        name="tiny",
        data="noise",
        samples=e.samples,
        seed=e.seed,
        template=e.template,
        max_new_tokens=e.max_new_tokens,
        batch_size=e.batch_size,
    )


def without_seconds(row: Row):
    return {name: value for name, value in row.to_dict().items() if name not in ("seconds", "certificate")}


def test_rows_say_what_was_really_kept(opt, examination, store):
    rows = hold_contest(opt, examination, CONTESTANTS, store(), watcher=(watcher := Recorder()))
    assert [row.label for row in rows] == ["unpruned", "blind", *(c.label for c in CONTESTANTS)]
    unpruned, blind = rows[:2]
    assert unpruned.outcomes == "11110"
    assert unpruned.kinds == {"noise": (4, 4), "else": (0, 1)}
    assert (unpruned.tokens, unpruned.tokens_kept, unpruned.p_value) == (8, 8, None)
    assert unpruned.length_after == unpruned.length_before
    assert blind.outcomes != unpruned.outcomes
    for row, contestant in zip(rows[2:], CONTESTANTS, strict=True):
        kept = 4 if contestant.policy.keep == 0.5 else 2
        assert (row.tokens, row.tokens_kept) == (8, kept)
        assert row.length_before == unpruned.length_before
        assert row.length_after == row.length_before - 8 + kept
        assert 0 < row.p_value <= 1
        assert Policy.from_dict(row.policy) == contestant.policy
    assert any(row.outcomes != unpruned.outcomes for row in rows[2:]), "pruning a random model changes something"
    assert watcher.samples == 5 * len(rows)
    assert watcher.total == len(rows)


def test_the_model_is_left_unpruned(opt, examination, store):
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in opt.modules())
    hold_contest(opt, examination, CONTESTANTS[:1], store())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in opt.modules()) == hooks


@pytest.fixture(scope="module")
def whole(opt, examination, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "rows.jsonl"
    return hold_contest(opt, examination, CONTESTANTS, RowStore(path, Row, certificate(opt, examination)))


@pytest.mark.parametrize("rows_before", [0, 1, 4])
def test_a_killed_contest_goes_on_where_it_stopped(opt, examination, store, whole, rows_before):
    with pytest.raises(Killed):
        hold_contest(opt, examination, CONTESTANTS, store(), watcher=Recorder(kill_after=rows_before))
    rows = hold_contest(opt, examination, CONTESTANTS, store(), watcher=(watcher := Recorder()))
    assert len(watcher.found) == rows_before
    assert len(watcher.measured) == len(whole) - rows_before
    assert [without_seconds(row) for row in rows] == [without_seconds(row) for row in whole]
    hold_contest(opt, examination, CONTESTANTS, store(), watcher=(again := Recorder()))
    assert again.measured == []


def test_the_same_scorer_at_another_keep_or_position_is_another_row(opt, examination, store):
    hold_contest(opt, examination, [Contestant("first", Policy(scorer="first", keep=0.5))], store())
    others = [
        Contestant("first", Policy(scorer="first", keep=0.5, positions="preserve")),
        Contestant("first", Policy(scorer="first", keep=4)),
        Contestant("first", Policy(scorer="first", keep=0.5)),
    ]
    hold_contest(opt, examination, others, store(), watcher=(watcher := Recorder()))
    assert watcher.measured == ["first", "first"]
    assert watcher.found == ["unpruned", "blind", "first"]


def test_a_policy_that_does_not_fit_is_found_out_before_anything_is_measured(opt, examination, store):
    wrong = Contestant("first", Policy(scorer="first", target="audio"))
    with pytest.raises(TokpruneError, match="audio"):
        hold_contest(opt, examination, [*CONTESTANTS, wrong], store(), watcher=(watcher := Recorder()))
    assert watcher.samples == 0


def test_an_examination_needs_questions(processor):
    with pytest.raises(InvalidValueError, match="no samples"):
        Examination(processor, [])


IMAGE = Policy(scorer="received-attention", keep=0.25, target="image", after=1)
QUERY = Policy(scorer="first", keep=0.5)


def test_rows_of_image_tokens_count_image_tokens(opt, examination, store):
    rows = hold_contest(opt, examination, [Contestant("received-attention", IMAGE)], store())
    assert [(row.tokens, row.tokens_kept) for row in rows] == [(64, 64), (64, 64), (64, 16)]
    image = rows[2]
    assert image.length_after == image.length_before == rows[0].length_before, "the prompt is as long as it was"
    assert Policy.from_dict(image.policy) == IMAGE
    assert image.outcomes != rows[0].outcomes, "the answers changed, so something was pruned"


def test_policies_that_act_together_are_one_row(opt, examination, store):
    contestants = [Contestant("both", (IMAGE, QUERY)), Contestant("one", (QUERY,)), Contestant("first", QUERY)]
    rows = hold_contest(opt, examination, contestants, store())
    both, one, alone = rows[2:]
    everything = {"image": 64, "query": 8}
    assert [row.tokens_kept for row in rows] == [
        everything,
        everything,
        {"image": 16, "query": 4},
        {"query": 4},
        4,
    ]
    assert both.tokens == everything
    assert both.length_after == both.length_before - 4
    assert (both.keep, both.positions, alone.keep) == (None, None, 0.5)
    assert [Policy.from_dict(each) for each in both.policy] == [IMAGE, QUERY]
    assert one.outcomes == alone.outcomes
    hold_contest(opt, examination, contestants, store(), watcher=(again := Recorder()))
    assert again.measured == []


def test_the_same_policies_with_another_label_or_order_are_another_row(opt, examination, store):
    hold_contest(opt, examination, [Contestant("both", (IMAGE, QUERY))], store())
    others = [
        Contestant("both", (QUERY, IMAGE)),
        Contestant("two", (IMAGE, QUERY)),
        Contestant("both", (QUERY,)),
        Contestant("both", QUERY),
    ]
    assert len({other.key for other in others}) == len(others)
    hold_contest(opt, examination, others, store(), watcher=(watcher := Recorder()))
    assert watcher.measured == ["both", "two", "both", "both"]


def test_the_unpruned_row_counts_what_the_contest_is_about_also_when_it_was_found(opt, examination, store):
    hold_contest(opt, examination, [Contestant("first", QUERY)], store())
    for contestants, tokens in (
        ([Contestant("received-attention", IMAGE)], 64),
        ([Contestant("both", (IMAGE, QUERY))], {"image": 64, "query": 8}),
        ([Contestant("received-attention", IMAGE), Contestant("first", QUERY)], {"image": 64, "query": 8}),
        ([Contestant("first", Policy(scorer="first", keep=0.5, target="query")), Contestant("first", QUERY)], 8),
    ):
        rows = hold_contest(opt, examination, contestants, store(), watcher=(watcher := Recorder()))
        assert "unpruned" in watcher.found
        assert [row.tokens for row in rows[:2]] == [tokens] * 2


def test_a_stored_policy_without_a_newer_field_is_the_one_that_leaves_it_to_its_default():
    old = {name: value for name, value in QUERY.to_dict().items() if name != "after"}
    row = Row("first", 0.5, "compact", old, 8, 4, 1, 1, "1", {}, None, 1, {})
    assert Contestant("first", QUERY).key == Contestant.key_of(row)
    other = Contestant("first", Policy(scorer="first", keep=0.5, after=1))
    assert other.key != Contestant.key_of(row)
