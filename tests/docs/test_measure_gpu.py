"""The script that measures on a GPU, tried without one on the tiniest size."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from . import places

SCRIPTS = places.DOCS / "scripts"
TINY = ["--device", "cpu", "--dtype", "float32", "--model", "blip2-opt-2.7b:scale=0.03", "--quick"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    return __import__("measure_gpu")


def run(script: Any, folder: Path, *more: str) -> list[Any]:
    return script.measure_all(script.parse([*TINY, "--out", str(folder), *more]))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_way_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "measure_gpu.py"), *TINY, "--out", str(tmp_path), "--minutes", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {path.name for path in tmp_path.iterdir()}
    assert {"rows.jsonl", "summary.md"} < files
    assert len(files) <= 8
    found = {(row["certificate"]["model"], row["batch_size"], row["certificate"]["beams"]) for row in lines(tmp_path)}
    opt, t5 = "blip2-opt-2.7b:scale=0.03", "blip2-flan-t5-xl:scale=0.03"
    assert found == {(opt, 2, 1), (opt, 1, 1), (opt, 2, 2), (t5, 2, 1)}
    assert {tuple(row["targets"]) for row in lines(tmp_path)} == {("query",), ("image", "query")}
    summary = (tmp_path / "summary.md").read_text()
    for piece in ("## Targets", "pruned / oracle | at most 1.03", f"## {opt}, greedy", f"## {t5}, greedy", "| done |"):
        assert piece in summary, piece
    assert "skipped" not in summary
    assert "failed" not in summary


def test_without_time_every_step_is_skipped_and_said_to_be(script: Any, tmp_path: Path) -> None:
    outcomes = run(script, tmp_path, "--minutes", "0")
    assert {outcome.state for outcome in outcomes} == {"skipped"}
    assert (tmp_path / "summary.md").read_text().count("| skipped | 0 | 0 s left,") == len(outcomes) == 5


def test_a_step_that_fails_does_not_cost_the_others(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "STARTED", script.time.monotonic())
    real, calls = script.run_speed, []

    def sometimes(model: Any, entries: Any, batch_sizes: Any, *more: Any) -> Any:
        calls.append(batch_sizes)
        if len(calls) == 1:
            raise RuntimeError("no such kernel\nand more")
        if len(calls) == 2:
            raise script.OutOfTimeError("the budget was spent")
        return real(model, entries, batch_sizes, *more) if len(calls) == 4 else []

    monkeypatch.setattr(script, "run_speed", sometimes)
    outcomes = run(script, tmp_path, "--minutes", "30")
    assert [outcome.state for outcome in outcomes] == ["failed", "skipped", "done", "done", "done"]
    assert outcomes[0].note == "RuntimeError: no such kernel"
    assert [row["variant"] for row in lines(tmp_path)] == ["unpruned", "oracle", "pruned"]
    before = (tmp_path / "rows.jsonl").read_text()
    monkeypatch.setattr(script, "run_speed", lambda *given: real(*given) if given[2] == [1] else [])
    run(script, tmp_path, "--minutes", "30")
    assert (tmp_path / "rows.jsonl").read_text() == before, "what is there is not measured again"


def test_models_that_read_image_tokens_are_measured_too(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--device", "cpu", "--dtype", "float32", "--model", "llava-1.5-7b:scale=1/32", "--quick"]
    monkeypatch.setattr(script, "STARTED", script.time.monotonic())
    (outcome,) = script.measure_all(script.parse([*small, "--out", str(tmp_path), "--minutes", "30"]))
    assert (outcome.state, outcome.note) == ("done", "1 repeats")
    assert [(row["variant"], row["targets"]["image"]["kept"]) for row in lines(tmp_path)] == [
        (variant, 144) for variant in ("unpruned", "oracle", "pruned")
    ]
    summary = (tmp_path / "summary.md").read_text()
    assert "received-attention keep=1/4: pruned / oracle | at most 1.1" in summary
    assert "unpruned / pruned | at least 2.0" in summary


def test_one_command_measures_all_of_them(script: Any, tmp_path: Path) -> None:
    bench = script.Bench(script.parse([*TINY, "--out", str(tmp_path)]), deadline=0.0)
    bench.quick = False
    words = ["--device", "cpu", "--out", str(tmp_path), "--model", *script.READERS]
    names = [step.name for model in script.parse(words).model for step in script.steps_of(bench, model)]
    assert len(names) == len(set(names)) == 12
    for size, batch in zip(script.READERS, (16, 16, 4), strict=True):
        assert names.count(f"{size}, batch {batch}, greedy, image tokens by received-attention") == 1


def test_repeats_fit_into_the_time(script: Any, tmp_path: Path) -> None:
    bench = script.Bench(script.parse([*TINY, "--out", str(tmp_path)]), deadline=0.0)
    assert bench._repeats(one=0.5, seconds=60.0) == 20, "no more than enough"
    assert bench._repeats(one=1.0, seconds=60.0) == 6
    with pytest.raises(script.OutOfTimeError, match=r"a call takes 2\.00 s"):
        bench._repeats(one=2.0, seconds=60.0)
    with pytest.raises(script.OutOfTimeError, match="in the middle"):
        script.Watch(deadline=0.0).call_done()


def test_on_a_gpu_kernels_and_tests_are_run_too(script: Any, tmp_path: Path) -> None:
    bench = script.Bench(script.parse([*TINY, "--out", str(tmp_path)]), deadline=0.0)
    assert not {"kernels", "tests on the GPU"} & {step.name for step in script.steps_of(bench, "blip2-opt-2.7b")}
    bench.device, bench.quick = "cuda", False
    names = [step.name for step in script.steps_of(bench, "blip2-opt-2.7b")]
    assert names[0] == "blip2-opt-2.7b, batch 64, greedy, image and query tokens"
    assert {"kernels", "tests on the GPU", "blip2-opt-2.7b, batch 64, 5 beams, image and query tokens"} <= set(names)
    assert any("flan-t5" in name for name in names)


def test_the_kernels_are_asked_for_with_options_that_they_have(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = pytest.importorskip("tokprune.bench.kernels")
    asked: list[list[str]] = []
    monkeypatch.setattr(script, "_in_a_process", lambda command, log, seconds: asked.append(command) or "well")
    bench = script.Bench(script.parse([*TINY, "--out", str(tmp_path)]), deadline=0.0)
    assert script.kernels(bench, 60.0) == "well; well"
    known = inspect.signature(benchmark.main).parameters
    for command in asked:
        assert command[1:3] == ["-m", "tokprune.bench.kernels"]
        options = [word.removeprefix("--").removeprefix("no-") for word in command if word.startswith("--")]
        assert {option.replace("-", "_") for option in options} <= set(known)


def test_without_a_gpu_it_says_how_to_try_it(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if script.torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit):
        script.parse(["--out", "x"])
    assert "--device cpu --model blip2-opt-2.7b:scale=0.1 --quick" in capsys.readouterr().err


def test_a_command_that_takes_too_long_is_stopped_and_its_output_kept(script: Any, tmp_path: Path) -> None:
    code = "import time; print('begun', flush=True); time.sleep(60)"
    log = tmp_path / "log.txt"
    assert script._in_a_process([sys.executable, "-c", code], log, 5.0) == "stopped after 5 s; begun"
    assert log.read_text() == "begun\n"
    assert script._in_a_process([sys.executable, "-c", "print(1); exit(3)"], log, 60.0) == "exit code 3; 1"
