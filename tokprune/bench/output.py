"""Where a command writes: found out before anything is measured, held by one run alone, one message where it fails."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tokprune.errors import InvalidValueError

_ENOUGH = 2**18
"""Bytes that tables and a plot take at most."""


def check_folder(path: Path, option: str = "--out") -> None:
    """Raise unless there is or can be made a folder to write into, as far as can be known without making it.

    Raises:
        InvalidValueError: What is there above it is a file, or may not be written to; or the path itself cannot be.
    """
    place = path
    with writing(place, option):
        while not _is_there(place):
            place = place.parent
    if not os.path.isdir(place):
        raise InvalidValueError(f"{option} {path}: expected a folder, and {place} is a file; name another place")
    if not os.access(place, os.W_OK):
        raise InvalidValueError(f"{option} {path}: {place} cannot be written to; name another place")


def _is_there(place: Path) -> bool:
    """Whether there is something; other than `Path.exists`, a name that is too long for the system is an error."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def check_picture_place(path: Path) -> None:
    """Raise unless a picture can be made there, in a format that is known.

    Raises:
        InvalidValueError: It is a folder, cannot be written, or its ending stands for no format of pictures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    check_folder(path.parent)
    if os.path.exists(path) and not os.path.isfile(path):
        raise InvalidValueError(
            f"--out {path}: expected a file, and this is none; name a picture file, such as answer.png"
        )
    known = FigureCanvasAgg.filetypes
    if path.suffix and path.suffix.removeprefix(".").lower() not in known:
        raise InvalidValueError(
            f"--out {path}: {path.suffix!r} is no format of pictures that is known; choose one of "
            f"{', '.join(sorted(known))}"
        )


@contextmanager
def writing(path: str | Path, option: str = "--out") -> Iterator[None]:
    """Makes one message of what keeps a file or a folder from being written.

    Raises:
        InvalidValueError: The system said no: no permission, no space left, too long a name, ...
    """
    try:
        yield
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f" ({error.filename})"
        remedy = "Name another place"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "What was written before is kept: make room and run the same command again, or name another place"
        raise InvalidValueError(
            f"{option} {path}: cannot be written{where}: {error.strerror or error}. {remedy}"
        ) from error


@contextmanager
def results_folder(folder: Path) -> Iterator[None]:
    """Makes a folder for the results of one run, and keeps other runs out of it inside the block.

    The system frees the lock of a run that is killed.

    Raises:
        InvalidValueError: It cannot be made or written, there is no space left, or another run is at work there.
    """
    lock = FileLock(folder / ".lock")
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(_ENOUGH))
            lock.acquire(blocking=False)
    except InvalidValueError as error:
        if isinstance(error.__cause__, Timeout):
            raise InvalidValueError(
                f"--out {folder}: another run is writing into this folder. Wait until it has ended, or name another one"
            ) from error
        raise
    try:
        yield
    finally:
        lock.release()
