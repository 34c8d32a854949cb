"""A place to write to is judged beforehand, belongs to one run at a time, and is one message where it fails."""

import errno
import os
import subprocess
import sys

import pytest
from rows import CERTIFICATE, some_rows

from tokprune.bench.output import check_folder, check_picture_place, results_folder
from tokprune.bench.row import Row
from tokprune.bench.store import RowStore
from tokprune.errors import InvalidValueError


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    folder = tmp_path / "runs" / "one"
    with results_folder(folder):
        message = r"runs/one: another run is writing into this folder\. Wait"
        with pytest.raises(InvalidValueError, match=message), results_folder(folder):
            pass
        with results_folder(tmp_path / "runs" / "other"):
            pass
    with results_folder(folder):
        pass


HOLD = """
import os, sys
from pathlib import Path
from filelock import FileLock
lock = FileLock(Path(sys.argv[1]) / ".lock")
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_was_killed_keeps_nobody_out(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(InvalidValueError, match="another run"), results_folder(tmp_path):
        pass
    other.kill()
    other.communicate()
    with results_folder(tmp_path):
        pass


@pytest.mark.parametrize("make", [check_folder, lambda path: results_folder(path).__enter__()])
def test_a_place_that_cannot_be_is_found_out(tmp_path, make):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(InvalidValueError, match=r"^--out .*[Nn]ame another place"):
            make(place)
    assert not (tmp_path / "file" / "below").exists()


def test_a_place_that_can_be_is_left_to_be_made(tmp_path):
    check_folder(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_found_out(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidValueError, match="cannot be written to; name another place"):
        check_folder(tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "message"),
    [("folder", "expected a file"), ("picture.xyz", "'.xyz' is no format of pictures .* png,"), ("a.png", "")],
)
def test_a_picture_needs_a_file_and_a_format(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    if not message:
        check_picture_place(tmp_path / name)
        return
    with pytest.raises(InvalidValueError, match=message):
        check_picture_place(tmp_path / name)


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_is_found_out_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", full_file)
    with pytest.raises(InvalidValueError, match="No space left on device"), results_folder(tmp_path):
        pytest.fail("measured")


def full_file(dir):
    return open("/dev/full", "wb")


def test_a_disk_that_fills_up_keeps_what_was_written(tmp_path, monkeypatch):
    store = RowStore(tmp_path / "rows.jsonl", Row, CERTIFICATE)
    first, second, *_ = some_rows()
    store.append(first)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InvalidValueError, match=r"No space left .* run the same command again"):
            store.append(second)
    assert store.rows == [first]
    store.append(second)
    assert RowStore(tmp_path / "rows.jsonl", Row, CERTIFICATE).rows == [first, second]


def test_rows_that_are_no_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(InvalidValueError, match="is not a file"):
        RowStore(tmp_path / "rows.jsonl", Row, CERTIFICATE)
