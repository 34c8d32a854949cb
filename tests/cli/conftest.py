"""A tiny random BLIP-2 in a folder, as `save_pretrained` leaves it: the door that a user's own model comes through."""

import pytest
import torch

from tokprune.zoo.architecture import build_model
from tokprune.zoo.processor import build_processor


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-blip2")
    torch.manual_seed(0)
    build_model(width=32, layers=2, heads=4, queries=8).save_pretrained(folder)
    build_processor(8).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tokprune(monkeypatch, tmp_path):
    """Runs the command line in an empty folder; gives its exit code and what it printed."""
    from typer.testing import CliRunner

    from tokprune.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return lambda *arguments, **more: CliRunner().invoke(app, [str(argument) for argument in arguments], **more)
