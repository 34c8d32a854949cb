import dataclasses
import json

import pytest
import torch
from speedrows import CERTIFICATE, block

from tokprune import Policy, handles_of
from tokprune.bench.certificate import weights_digest
from tokprune.bench.speed import run as module
from tokprune.bench.speed.block import Settings
from tokprune.bench.speed.certificate import SpeedCertificate, certify_speed
from tokprune.bench.speed.clock import clock_for
from tokprune.bench.speed.row import SpeedRow
from tokprune.bench.speed.run import Entry, Listener, run_speed
from tokprune.bench.store import RowStore
from tokprune.errors import AdapterError, InvalidValueError

CPU = clock_for(torch.device("cpu"))
SETTINGS = Settings(max_new_tokens=2, repeats=2, warm_up=0)
ENTRIES = [
    Entry("none"),
    Entry("l2", (Policy("l2-norm", keep=3),)),
    Entry("both", (Policy("received-attention", keep=9, target="image"), Policy("l2-norm", keep=3))),
]


@pytest.fixture
def store(opt, tmp_path):
    certificate = certify_speed(opt, SETTINGS, CPU, name="tiny", random_weights=True, seed=0, prompt_tokens=4)
    return lambda: RowStore(tmp_path / "rows.jsonl", SpeedRow, certificate)


class Ear(Listener):
    def __init__(self):
        self.heard = []

    def block_started(self, entry, batch_size, calls):
        self.heard.append((entry.label, batch_size, calls))

    def call_done(self):
        self.heard.append("call")

    def block_done(self, rows, measured):
        self.heard.append("measured" if measured else "found")


def test_rows_come_back_as_they_were_written(tmp_path):
    store = RowStore(tmp_path / "rows.jsonl", SpeedRow, CERTIFICATE)
    store.extend(block())
    assert RowStore(tmp_path / "rows.jsonl", SpeedRow, CERTIFICATE).rows == block() == store.rows
    line = json.loads(store.path.read_text().splitlines()[2])
    assert line["median_seconds"] == 0.010
    assert line["token_seconds"] == 0.003
    assert line["median_stages"]["encoder"] == 0.002
    assert line["median_overhead"] == 10 / 7.5
    assert line["total_flops"] == 3_110_000_000


@pytest.mark.parametrize("line", ['{"label": "x"}', "[]", '{"label": "x", "outcomes": "1"}'])
def test_what_is_no_row_of_speed_is_refused(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InvalidValueError, match=r"rows\.jsonl:1: not a benchmark row"):
        RowStore(path, SpeedRow, CERTIFICATE)


def test_what_moves_a_time_keeps_runs_apart():
    for field in dataclasses.fields(SpeedCertificate):
        other = dataclasses.replace(CERTIFICATE, **{field.name: "another"})
        free = field.name in ("date", "command", "repeats", "warm_up")
        assert bool(CERTIFICATE.differences(other)) != free, field.name


def test_a_certificate_says_what_ran(opt):
    made = certify_speed(opt, SETTINGS, CPU, name="tiny", random_weights=False, seed=3, prompt_tokens=4)
    assert made.weights == weights_digest(opt)
    assert (made.seed, made.prompt_tokens, made.max_new_tokens, made.beams) == (3, 4, 2, 1)
    assert (made.clock, made.dtype, made.attention) == ("wall clock", "float32", "sdpa")
    assert "cores" in made.processor
    assert made.threads == torch.get_num_threads()
    assert SpeedCertificate.from_dict(made.to_dict()) == made
    random = certify_speed(opt, SETTINGS, CPU, name="tiny", random_weights=True, seed=3, prompt_tokens=4)
    assert random.weights == "random"


def test_a_run_measures_every_entry_at_every_batch_size(opt, store):
    ear = Ear()
    rows = run_speed(opt, ENTRIES, [1, 2], SETTINGS, CPU, store(), ear)
    three = ("unpruned", "oracle", "pruned")
    wanted = [(size, "none", "unpruned") for size in (1,)] + [(1, label, v) for label in ("l2", "both") for v in three]
    assert [(row.batch_size, row.label, row.variant) for row in rows][:7] == wanted
    assert [(row.batch_size, row.label, row.variant) for row in rows][7:] == [(2, *rest) for _, *rest in wanted]
    assert [each for each in ear.heard if each != "call"][:2] == [("none", 1, 6), "measured"]
    assert ear.heard.count("call") == sum(each[2] for each in ear.heard if isinstance(each, tuple)) == 2 * 42
    both = rows[6]
    assert {name: (one["kept"], one["tokens"]) for name, one in both.targets.items()} == {
        "image": (9, 64),
        "query": (3, 8),
    }
    assert both.targets["query"]["backend"] == "reference"
    assert both.gain == [u / p for u, p in zip(rows[4].seconds, both.seconds, strict=True)]
    assert both.overhead == [p / o for p, o in zip(both.seconds, rows[5].seconds, strict=True)]
    assert rows[4].gain == [1.0, 1.0]
    assert [Policy.from_dict(each) for each in both.policies] == list(ENTRIES[2].policies)
    assert both.weights_memory == 4 * sum(parameter.numel() for parameter in opt.parameters())
    assert handles_of(opt) == []


def test_a_run_goes_on_where_it_was_killed(opt, store, monkeypatch):
    whole = run_speed(opt, ENTRIES[:2], [1], SETTINGS, CPU, store())
    path = store().path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))  # killed before the last row of a block was on the disk
    ear = Ear()
    again = run_speed(opt, ENTRIES[:2], [1], SETTINGS, CPU, store(), ear)
    assert [each for each in ear.heard if each != "call"] == ["found", ("l2", 1, 18), "measured"]
    assert again[0] == whole[0]
    assert [row.variant for row in again] == ["unpruned", "unpruned", "oracle", "pruned"]
    assert again[1].seconds != whole[1].seconds, "a block is measured side by side, or not at all"
    monkeypatch.setattr(module, "measure_block", None)
    assert run_speed(opt, ENTRIES[:2], [1], SETTINGS, CPU, store()) == again
    with pytest.raises(TypeError):
        run_speed(opt, ENTRIES, [1], SETTINGS, CPU, store())


def test_a_policy_that_does_not_fit_is_found_before_anything_is_measured(opt, store):
    wrong = Entry("wrong", (Policy("received-attention", target="nothing"),))
    with pytest.raises(AdapterError, match="cannot cut target 'nothing'"):
        run_speed(opt, [ENTRIES[0], wrong], [1], SETTINGS, CPU, store())
    assert not store().path.exists()


def test_a_batch_that_does_not_fit_into_memory_is_named(opt, store, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0")

    monkeypatch.setattr(module, "measure_block", full)
    with pytest.raises(InvalidValueError, match=r"batch size 64: CUDA out of memory\. Rows measured so far are kept"):
        run_speed(opt, ENTRIES, [64], SETTINGS, CPU, store())
