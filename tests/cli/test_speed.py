import json

import pytest

from tokprune.adapters import InstructBlip

QUICK = ("--repeats", 1, "--warm-up", 0, "--max-new-tokens", 2)
BOTH = "received-attention target=image keep=1/4 after=1/3 + catp-vote keep=1/4"


def rows(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_speed_of_the_bundled_model(tokprune, tmp_path):
    command = ("speed", *QUICK, "--policy", "catp-vote keep=1/4", "--policy", BOTH, "--out", "run")
    result = tokprune(*command)
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "run").glob("[!.]*")} == {"rows.jsonl", "table.md", "table.csv", "plot.png"}
    found = rows(tmp_path / "run")
    assert [(row["label"], row["variant"]) for row in found] == [
        (label, variant) for label in ("catp-vote keep=1/4", BOTH) for variant in ("unpruned", "oracle", "pruned")
    ]
    assert found[-1]["targets"]["image"]["kept"] == 16
    assert found[-1]["certificate"]["model"] == "blip2-shapes"
    for piece in ("query 8 of 32", "image 16 of 64", "pruned / oracle", "encoder ms", "Batch 1, catp-vote keep=1/4:"):
        assert piece in " ".join(result.stdout.split()), piece
    more = tokprune(*command, "--batch-size", 1, "--batch-size", 2)
    assert more.exit_code == 0, more.output
    assert more.stderr.count("found in the store") == 2
    assert rows(tmp_path / "run")[:6] == found
    assert [row["batch_size"] for row in rows(tmp_path / "run")] == [1] * 6 + [2] * 6


def test_by_default_the_models_own_scorer_keeps_a_quarter(tokprune, checkpoint, tmp_path):
    result = tokprune("speed", checkpoint, *QUICK)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("speed-")
    assert {row["label"] for row in rows(folder)} == {"focus keep=1/4"}


def test_scorers_and_keeps_make_a_grid(tokprune, checkpoint, tmp_path):
    scorers = ("--scorer", "first", "--scorer", "l2-norm", "--keep", "1/2", "--keep", 2, "--policy", "none")
    result = tokprune("speed", checkpoint, *QUICK, *scorers, "--out", "run")
    assert result.exit_code == 0, result.output
    labels = dict.fromkeys(row["label"] for row in rows(tmp_path / "run"))
    assert list(labels) == [
        "none",
        *(f"{scorer} keep={keep}" for scorer in ("first", "l2-norm") for keep in ("1/2", 2)),
    ]
    assert tokprune("speed", checkpoint, *QUICK, "--keep", 2, "--out", "keep").exit_code == 0
    assert rows(tmp_path / "keep")[0]["label"] == "focus keep=2"


@pytest.mark.parametrize("name", ["blip2-opt-2.7b:scale=0.04", "blip2-flan-t5-xl:scale=0.04"])
def test_speed_of_a_real_size_made_small(tokprune, tmp_path, name):
    options = ("--policy", BOTH, "--dtype", "bfloat16", "--beams", 2, "--prompt-tokens", 3)
    result = tokprune("speed", name, *QUICK, *options)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == f"speed-{name.replace(':', '-').replace('=', '-')}"
    (row,) = (row for row in rows(folder) if row["variant"] == "pruned")
    targets = {name: (one["length_before"], one["length_after"]) for name, one in row["targets"].items()}
    assert targets == {"image": (257, 65), "query": (35, 11)}
    certificate = row["certificate"]
    assert {name: certificate[name] for name in ("weights", "dtype", "beams", "prompt_tokens")} == {
        "weights": "random",
        "dtype": "bfloat16",
        "beams": 2,
        "prompt_tokens": 3,
    }


def test_instructblip_is_measured_against_an_oracle_that_reads_the_question(tokprune, tmp_path):
    name = "instructblip-vicuna-7b:scale=0.04"
    result = tokprune("speed", name, *QUICK, "--policy", "self-attention keep=1/4", "--out", "run")
    assert result.exit_code == 0, result.output
    assert [row["variant"] for row in rows(tmp_path / "run")] == ["unpruned", "oracle", "pruned"]


def test_a_model_without_an_adapter_can_be_measured_unpruned(tokprune, tmp_path, monkeypatch):
    monkeypatch.setattr(InstructBlip, "matches", lambda adapter, model: False)
    name = "instructblip-vicuna-7b:scale=0.04"
    result = tokprune("speed", name, *QUICK, "--policy", "none", "--out", "run")
    assert result.exit_code == 0, result.output
    assert [row["variant"] for row in rows(tmp_path / "run")] == ["unpruned"]
    assert not (tmp_path / "run" / "plot.png").exists()


def test_a_policy_for_a_model_without_an_adapter_is_refused_as_apply_refuses_it(tokprune, monkeypatch):
    monkeypatch.setattr(InstructBlip, "matches", lambda adapter, model: False)
    result = tokprune("speed", "instructblip-vicuna-7b:scale=0.04", *QUICK)
    assert result.exit_code == 2, result.output
    assert "no adapter" in " ".join(result.stderr.split())


def test_another_run_is_not_mixed_in(tokprune, checkpoint):
    command = ("speed", checkpoint, *QUICK, "--scorer", "first", "--keep", 2, "--out", "run")
    assert tokprune(*command).exit_code == 0
    result = tokprune(*command, "--prompt-tokens", 9)
    assert result.exit_code == 2
    assert "prompt_tokens: 8 there, 9 now" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "l2-nrm"], "did you mean 'l2-norm'"),
        (["--policy", "l2-norm keep=1/4,target=image"], "not commas"),
        (["--scorer", "first", "--keep", "half"], "expected a ratio"),
        (["blip2-opt-2.7"], "did you mean 'blip2-opt-2.7b'"),
        (["blip2-opt-2.7b:scale=3"], "a number in (0, 1]"),
        (["blip2-opt-2.7b:scale=0.04", "--dtype", "float8"], "expected one of float32"),
        (["--attention", "nothing"], "nothing"),
        (["--clock", "sun"], "expected wall"),
        (["--device", "nothing"], "device 'nothing'"),
        (["--device", "cuda:99"], "device 'cuda:99'"),
        (["--policy", "l2-norm target=text"], "cannot cut target 'text'"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(tokprune, arguments, message):
    result = tokprune("speed", *arguments, *QUICK)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
