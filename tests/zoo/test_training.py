"""The training: its pieces, and the whole command in miniature, interrupted and resumed."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress
from torch import Tensor, nn
from typer.testing import CliRunner

from tokprune import errors
from tokprune.zoo.architecture import build_model
from tokprune.zoo.recipe.connector import Connector
from tokprune.zoo.recipe.encoder import patch_labels
from tokprune.zoo.recipe.language import prefix_positions
from tokprune.zoo.recipe.loop import Stage, run_stage
from tokprune.zoo.recipe.pool import FIRST, build_pool
from tokprune.zoo.recipe.settings import SMOKE, Settings
from tokprune.zoo.scenes import COLOURS
from tokprune.zoo.train import app


def line(steps: int = 12) -> Stage:
    """A stage that learns a line."""
    torch.manual_seed(1)
    learner = nn.Linear(3, 1)

    def loss(generator: torch.Generator) -> tuple[Tensor, float]:
        x = torch.randn(8, 3, generator=generator)
        return (learner(x) - x.sum(1, keepdim=True)).square().mean(), 0.0

    return Stage("line", learner, loss, steps, 0.1, seed=3)


def test_interrupted_training_ends_where_uninterrupted_training_does(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    with Progress(disable=True) as progress:
        once = line()
        run_stage(once, whole, progress)
        for until in (5, 9, None):
            again = line()  # as in a new process: fresh weights, which the checkpoint replaces
            outcome = run_stage(again, parts, progress, until=until)
    assert outcome.step == 12
    assert torch.equal(once.learning.weight, again.learning.weight)
    assert outcome.probe_loss > outcome.loss


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    with Progress(disable=True) as progress:
        first = run_stage(line(), tmp_path, progress)
        stage = line()
        never = replace(stage, loss=lambda generator: pytest.fail("trained again"))
        again = run_stage(never, tmp_path, progress)
    assert (again.step, again.loss, again.seconds) == (first.step, first.loss, first.seconds)


def test_rate_rises_and_falls() -> None:
    stage = line(steps=1000)
    rates = [stage.rate(step) for step in range(1000)]
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] < 0.01
    assert rates[-1] < 0.003
    assert sorted(rates[30:], reverse=True) == rates[30:]


def test_pool_is_of_the_training_split_and_repeatable() -> None:
    pool, again = build_pool(20, seed=5), build_pool(20, seed=5)
    assert all(torch.equal(getattr(pool, name), getattr(again, name)) for name in vars(pool))
    assert pool.text.shape[:2] == (20, sum(FIRST.per_scene.values()))
    assert not torch.equal(pool.objects, build_pool(20, seed=6).objects)


def test_labels_of_patches() -> None:
    pool = build_pool(10, seed=0)
    labels, centre, shows = patch_labels(pool, torch.arange(10))
    assert 0.02 < shows.float().mean() < 0.6
    assert (labels[..., 0][~shows] == len(COLOURS)).all()
    rows, columns = labels[0, :, 3], labels[0, :, 4]
    assert rows.tolist() == [i // 8 for i in range(64)]
    assert columns.tolist() == [i % 8 for i in range(64)]
    for scene, patch in shows.nonzero().tolist():
        owner = pool.objects[scene, pool.owner[scene, patch]]
        assert labels[scene, patch, :3].tolist() == owner[:3].tolist()
        middle = torch.tensor([patch % 8, patch // 8]) * 8 + 3.5
        torch.testing.assert_close(middle + centre[scene, patch] * 16, owner[3:].float())


def test_positions_of_a_prefix_are_compact_or_preserved() -> None:
    positions, start = prefix_positions(200, 6, 32, torch.Generator().manual_seed(0))
    compact = start == 6
    assert 60 < compact.sum() < 140
    assert (positions[compact] == torch.arange(6)).all()
    assert (start[~compact] == 32).all()
    assert (positions.diff(dim=1) > 0).all()
    assert positions.max() == 31


def test_a_restart_is_another_start_and_repeatable() -> None:
    connector = Connector(build_model(width=16, layers=1, heads=2, queries=4))
    starts = []
    for seed in (1, 2, 1):
        connector.restart(seed)
        starts.append(connector(torch.ones(1, 3, 16)))
    assert torch.pdist(connector.query_tokens[0]).min() > 1, "queries that start alike stay alike"
    assert torch.equal(starts[0], starts[2])
    assert not torch.allclose(starts[0], starts[1])


def test_settings_guard_their_folder(tmp_path: Path) -> None:
    Settings().claim(tmp_path)
    Settings().claim(tmp_path)
    with pytest.raises(errors.InvalidValueError, match="other settings"):
        Settings(seed=1).claim(tmp_path)
    assert Settings().scaled(0.5).encoder_steps == Settings().encoder_steps // 2
    for factor in (0.0, -1.0, float("nan")):
        with pytest.raises(errors.InvalidValueError):
            SMOKE.scaled(factor)


@pytest.mark.slow
def test_the_whole_command_and_its_resumption(tmp_path: Path) -> None:
    out = tmp_path / "model"
    arguments = ["--out", str(out), "--smoke", "--device", "cpu"]
    command = [sys.executable, "-m", "tokprune.zoo.train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=240)
    card = json.loads((out / "card.json").read_text())
    assert card["command"] == "python -m tokprune.zoo.train --out FOLDER --seed 0 --smoke"
    weights = (out / "model.safetensors").read_bytes()
    # Interrupted before the last stage: encoder and language model are there, the Q-Former is lost.
    stages = out / "stages"
    kept = {path.name: path.stat().st_mtime_ns for path in stages.glob("*.pt")}
    for path in stages.glob("connector-*.pt"):
        path.unlink()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    assert (out / "model.safetensors").read_bytes() == weights
    for name in ("encoder.pt", "language.pt"):
        assert (stages / name).stat().st_mtime_ns == kept[name]


def test_randomness_outside_changes_nothing() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = build_pool(3, seed=0)
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    assert torch.equal(first.pixels, build_pool(3, seed=0).pixels)


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "file" / "model"), "--smoke"])
    assert result.exit_code == 2, result.output
    assert "--out: cannot make a folder at" in " ".join(result.output.replace("│", " ").split())
