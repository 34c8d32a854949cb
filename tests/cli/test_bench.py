import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

SCORERS = ("first", "l2-norm", "stride", "focus")


def rows(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_bench_writes_rows_tables_and_plot_and_resumes(tokprune, checkpoint, tmp_path):
    command = ["bench", checkpoint, "--n", 6, "--scorer", "first", "--scorer", "catp-vote:layers=last"]
    command += ["--keep", "0.5", "--keep", "2", "--max-new-tokens", 3, "--out", "run"]
    result = tokprune(*command)
    assert result.exit_code == 0, result.output
    assert "catp-vote:layers=last" in result.stdout
    assert {p.name for p in (tmp_path / "run").glob("[!.]*")} == {"rows.jsonl", "table.md", "table.csv", "plot.png"}
    first = rows(tmp_path / "run")
    assert [row["label"] for row in first] == ["unpruned", "blind", *["first"] * 2, *["catp-vote:layers=last"] * 2]
    assert [row["tokens_kept"] for row in first] == [8, 8, 4, 2, 4, 2]
    assert first[2]["certificate"]["n"] == 6
    more = tokprune(*command, "--positions", "compact", "--positions", "preserve")
    assert more.exit_code == 0, more.output
    assert more.output.count("found in the store") == 6
    assert rows(tmp_path / "run")[:6] == first
    assert len(rows(tmp_path / "run")) == 10


def test_another_run_is_not_mixed_in(tokprune, checkpoint):
    command = ["bench", checkpoint, "--scorer", "first", "--keep", "0.5", "--max-new-tokens", 1, "--out", "run"]
    assert tokprune(*command, "--n", 2).exit_code == 0
    result = tokprune(*command, "--n", 3)
    assert result.exit_code == 2
    assert "n: 2 there, 3 now" in result.stderr


def test_by_layer_has_one_row_per_cross_attention_layer_and_keep(tokprune, checkpoint, tmp_path):
    result = tokprune(
        "bench", checkpoint, "--by-layer", "--n", 2, "--keep", "1/2", "--keep", "1/4", "--no-blind", "--out", "run"
    )
    assert result.exit_code == 0, result.output
    found = [(row["label"], (row["policy"] or {}).get("scorer"), row["keep"]) for row in rows(tmp_path / "run")]
    assert found == [
        ("unpruned", None, None),
        ("catp-vote layer 1 of 2", "catp-vote:layers=[0]", 0.5),
        ("catp-vote layer 1 of 2", "catp-vote:layers=[0]", 0.25),
        ("catp-vote layer 2 of 2", "catp-vote:layers=[1]", 0.5),
        ("catp-vote layer 2 of 2", "catp-vote:layers=[1]", 0.25),
    ]


def test_by_default_all_fitting_scorers_run(tokprune, checkpoint, tmp_path):
    from tokprune import list_scorers

    result = tokprune("bench", checkpoint, "--n", 2, "--keep", "2", "--max-new-tokens", 1)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    labels = {row["label"] for row in rows(folder)}
    others = set(list_scorers()) - {"received-attention", "text-attention"}  # which have votes about image tokens only
    assert labels == {"unpruned", "blind", *others, "random:seed=1", "random:seed=2"}


def test_image_tokens_with_every_treatment_that_was_asked_for(tokprune, checkpoint, tmp_path):
    command = ["bench", checkpoint, "--target", "image", "--scorer", "first", "--keep", "1/4", "--n", 2, "--no-blind"]
    command += ["--max-new-tokens", 1]
    result = tokprune(*command, "--after", "1", "--after", "1,2", "--reduction", "prune", "--reduction", "merge")
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-shapes-vqa-image")
    found = [(row["policy"]["after"], row["policy"]["reduction"], row["tokens_kept"]) for row in rows(folder)[1:]]
    assert found == [(1, "prune", 16), (1, "merge", 16), ([1, 2], "prune", 16), ([1, 2], "merge", 16)]
    assert rows(folder)[0]["tokens"] == 64
    assert all(row["policy"]["target"] == "image" for row in rows(folder)[1:])
    for word in ("target", "after", "reduction", "16 of 64", "1,2", "merge"):
        assert word in result.stdout, word


def test_every_selector_that_was_asked_for(tokprune, checkpoint, tmp_path):
    command = ["bench", checkpoint, "--scorer", "first", "--keep", "1/2", "--n", 2, "--no-blind"]
    result = tokprune(*command, "--max-new-tokens", 1, "--selector", "top-k", "--selector", "top-p")
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert [row["policy"]["selector"] for row in rows(folder)[1:]] == ["top-k", "top-p"]
    assert rows(folder)[2]["tokens_kept"] < rows(folder)[1]["tokens_kept"]
    for word in ("selector", "top-k", "top-p"):
        assert word in result.stdout, word


def test_by_default_the_scorers_that_fit_the_target_run(tokprune, checkpoint, tmp_path):
    result = tokprune("bench", checkpoint, "--target", "image", "--n", 1, "--keep", 2, "--max-new-tokens", 1)
    assert result.exit_code == 0, result.output
    labels = {row["label"] for row in rows(next((tmp_path / "runs").iterdir()))}
    fitting = {"received-attention", "self-attention", "l2-norm", "distinct", "first", "stride"}
    assert labels == {"unpruned", "blind", *fitting, "random", "random:seed=1", "random:seed=2"}


def test_by_depth_cuts_behind_one_layer_at_a_time(tokprune, checkpoint, tmp_path):
    command = ["bench", checkpoint, "--by-depth", "--keep", "1/4", "--n", 2, "--no-blind", "--max-new-tokens", 1]
    assert tokprune(*command).exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-by-depth")
    found = [(row["label"], row["policy"]["target"], row["policy"]["after"]) for row in rows(folder)[1:]]
    assert found == [("received-attention", "image", 1), ("received-attention", "image", 2)]  # it has two layers
    result = tokprune(*command, "--scorer", "first", "--scorer", "stride")
    assert result.exit_code == 0, result.output
    assert [(row["label"], row["policy"]["after"]) for row in rows(folder)[3:]] == [
        ("first", 1),
        ("first", 2),
        ("stride", 1),
        ("stride", 2),
    ]


def test_policies_as_they_are_typed(tokprune, checkpoint, tmp_path):
    both, one = "first target=image keep=1/4 + first keep=2", "stride keep=1/2"
    command = ["bench", checkpoint, "--policy", both, "--policy", "none", "--policy", one, "--policy", one]
    result = tokprune(*command, "--n", 2, "--no-blind", "--max-new-tokens", 1)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-policies")
    unpruned, composed, alone = rows(folder)
    assert (unpruned["label"], unpruned["tokens"]) == ("unpruned", {"image": 64, "query": 8})
    assert (composed["label"], composed["tokens_kept"]) == (both, {"image": 16, "query": 2})
    assert (alone["label"], alone["tokens_kept"]) == (one, {"query": 4})
    assert "image 16 of 64, query 2 of 8" in result.stdout
    assert "keep -" not in result.stderr
    with Image.open(folder / "plot.png") as picture:
        assert picture.width > 500


def test_a_users_own_questions(tokprune, checkpoint, tmp_path):
    Image.new("RGB", (30, 30), "red").save(tmp_path / "a.png")
    from tokprune.bench.answering import generate_answers, prepare
    from tokprune.bench.loading import load_checkpoint
    from tokprune.bench.questionfile import QuestionFile

    lines = [{"image": "a.png", "question": f"{what} is it?", "answers": ["x", "y"]} for what in ("what", "how many")]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    model, processor = load_checkpoint(checkpoint)
    said = generate_answers(model, processor, prepare(model, processor, list(QuestionFile(path))), 10)
    lines[1]["answers"].append(said[1])
    path.write_text("\n".join(map(json.dumps, lines)))
    result = tokprune("bench", checkpoint, "--data", "mine.jsonl", "--scorer", "first", "--keep", "1.0", "--out", "run")
    assert result.exit_code == 0, result.output
    assert [row["outcomes"] for row in rows(tmp_path / "run") if row["label"] != "blind"] == ["01", "01"]
    path.write_text(path.read_text() + "\n{}")
    broken = tokprune("bench", checkpoint, "--data", "mine.jsonl")
    assert broken.exit_code == 2
    assert "mine.jsonl:3: " in broken.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
@pytest.mark.slow
def test_a_killed_process_loses_no_finished_row(tokprune, checkpoint, tmp_path):
    command = ["bench", checkpoint, "--n", "8"]
    command += [
        "--keep",
        "0.5",
        "--keep",
        "0.25",
        *(word for name in SCORERS for word in ("--scorer", name)),
        "--max-new-tokens",
        "3",
        "--out",
        str(tmp_path / "run"),
    ]
    store = tmp_path / "run" / "rows.jsonl"
    start = [sys.executable, "-c", "from tokprune.cli import main; main()"]
    process = subprocess.Popen([*start, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (store.exists() and store.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = store.read_bytes()
    assert before.count(b"\n") >= 2
    result = tokprune(*command)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("found in the store") == before.count(b"\n")
    assert store.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    labels = [(row["label"], row["keep"]) for row in rows(tmp_path / "run")]
    assert len(labels) == len(set(labels)) == 2 + 2 * len(SCORERS)
