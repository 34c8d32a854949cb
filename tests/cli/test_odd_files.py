"""Files that cannot be read or written are one message, in every command that takes one; and no run loses another's."""

import errno
import os
from pathlib import Path

import pytest

from tokprune.bench.output import results_folder

DEEP = "[" * 100_000
LONG = "x" * 5000


@pytest.fixture
def odd(tmp_path):
    """A folder with odd files in it, which is the current one."""
    (tmp_path / "file").write_text("")
    (tmp_path / "deep.json").write_text(DEEP)
    (tmp_path / "deep.jsonl").write_text(f"\n{DEEP}\n")
    (tmp_path / "half.jsonl").write_text('{"image": "a.png", "question": "\\ud83d", "answers": "x"}\n')
    os.mkfifo(tmp_path / "pipe.jsonl")
    os.mkfifo(tmp_path / "pipe.json")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "short.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "rows.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--out", "file"], "--out file: expected a folder, and file is a file"),
        (["bench", "--out", "file/below"], "--out file/below: expected a folder, and file is a file"),
        (["bench", "--out", LONG], "File name too long"),
        (["speed", "--out", "file"], "--out file: expected a folder, and file is a file"),
        (["answer", "--out", "file/a.png"], "--out file: expected a folder, and file is a file"),
        (["answer", "--out", "."], "--out .: expected a file"),
        (["answer", "--out", "a.xyz"], "is no format of pictures"),
        (["new", "scorer", "mine", "--out", "file"], "cannot make the folder"),
        (["new", "scorer", "mine", "--out", LONG], "cannot make the folder"),
        (["bench", "--data", "deep.jsonl"], "deep.jsonl:2: JSON that is nested too deeply"),
        (["bench", "--data", "half.jsonl"], "half.jsonl:1: 'question': half of a character"),
        (["bench", "--data", "pipe.jsonl"], "cannot read pipe.jsonl: it is not a file"),
        (["bench", "--data", LONG], "no data is called"),
        (["bench", "--data", f"{LONG}.jsonl"], "File name too long"),
        (["answer", "--data", "deep.jsonl"], "deep.jsonl:2: JSON that is nested too deeply"),
        (["bench", "--policy", "deep.json"], "--policy deep.json: JSON that is nested too deeply"),
        (["speed", "--policy", "pipe.json"], "cannot read pipe.json: it is not a file"),
        (["answer", "--image", "pipe.png", "--prompt", "what?"], "--image: no image at pipe.png"),
        (["answer", "--image", "short.png", "--prompt", "what?"], "--image: cannot open image short.png"),
        (["answer", "--image", f"{LONG}.png", "--prompt", "what?"], "--image: no image at"),
        (["answer", "--image", "short.png", "--prompt", "what \udcff"], "--prompt: half of a character"),
        (["answer", LONG], "no model is called"),
        (["inspect", f"{LONG}/{LONG}"], "cannot be loaded as a hub id (no such folder here)"),
        (["speed", LONG], "no model is called"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_odd_file_is_one_message(tokprune, odd, arguments, message):
    result = tokprune(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", [["bench", "--n", "1", "--scorer", "first"], ["speed"]], ids=lambda c: c[0])
def test_two_runs_do_not_share_a_folder(tokprune, checkpoint, tmp_path, command):
    with results_folder(tmp_path / "run"):
        result = tokprune(command[0], checkpoint, *command[1:], "--out", "run")
    assert result.exit_code == 2
    assert "--out run: another run is writing into this folder" in result.stderr
    assert not (tmp_path / "run" / "rows.jsonl").exists()


def test_rows_in_a_pipe_are_refused(tokprune, checkpoint, odd):
    result = tokprune("bench", checkpoint, "--n", "1", "--scorer", "first", "--out", "pipes")
    assert result.exit_code == 2
    assert "pipes/rows.jsonl is not a file" in result.stderr


def test_a_disk_that_fills_up_is_one_message(tokprune, checkpoint, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = tokprune("bench", checkpoint, "--n", "1", "--scorer", "first", "--out", "run")
    assert result.exit_code == 2
    assert "--out run/rows.jsonl: cannot be written: No space left on device." in result.stderr


def test_what_the_system_says_is_one_message_where_no_command_knew_more(tokprune, monkeypatch):
    def broken(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")

    monkeypatch.setattr("tokprune.zoo.list_datasets", broken)
    result = tokprune("bench")
    assert result.exit_code == 2
    assert result.stderr == "error: [Errno 13] Permission denied: '/secret'\n"
    assert isinstance(tokprune("--debug", "bench").exception, PermissionError)
