"""The row store: a JSON Lines file that survives being killed at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from tokprune.bench.certificate import BirthCertificate
from tokprune.bench.output import writing
from tokprune.errors import InvalidValueError


class StoredRow(Protocol):
    """What a row has to be to be stored."""

    @property
    def certificate(self) -> dict[str, Any]:
        """Where it comes from, `BirthCertificate.to_dict()`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        ...

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The row that `to_dict` wrote; raises `InvalidValueError` if it is none."""
        ...


R = TypeVar("R", bound=StoredRow)
C = TypeVar("C", bound=BirthCertificate)


class RowStore(Generic[R, C]):
    """The rows measured so far, in a file. A row is on the disk once `append` returns.

    Args:
        path: The file; it and its folder are made when the first row is appended.
        row_type: The class of the rows.
        certificate: What the run that goes on stands for. Rows of other models, data or versions are refused.
        shared: Rows of other runs may stand in the same file; they are left alone and not read.

    Raises:
        InvalidValueError: The file holds something else than rows, or rows that are not comparable with this run.
    """

    def __init__(self, path: str | Path, row_type: type[R], certificate: C, *, shared: bool = False) -> None:
        self.path = Path(path)
        self.row_type = row_type
        self.certificate = certificate
        self._shared = shared
        self._whole_bytes = 0
        self.rows = self._read()

    def append(self, row: R) -> None:
        """Adds one row and hands it to the disk."""
        self.extend([row])

    def extend(self, rows: Sequence[R]) -> None:
        """Adds rows in one write and hands them to the disk."""
        text = "".join(json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in rows)
        # Opened for writing in place, so that what a kill left of a last line is cut off and not joined to this row.
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write(text.encode("utf-8", "backslashreplace"))  # a name that is not UTF-8, as JSON would write it
        self.rows += rows

    def _write(self, text: bytes) -> None:
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.truncate(self._whole_bytes)
            file.seek(self._whole_bytes)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            self._whole_bytes = file.tell()

    def _read(self) -> list[R]:
        if not self.path.exists():
            return []
        if not self.path.is_file():
            raise InvalidValueError(f"{self.path} is not a file; name another folder (--out)")
        whole, newline, _torn = self.path.read_bytes().rpartition(b"\n")
        self._whole_bytes = len(whole) + len(newline)
        rows = [self._row(number, line) for number, line in enumerate(whole.split(b"\n"), start=1) if line.strip()]
        ours = []
        for row in rows:
            differences = type(self.certificate).from_dict(row.certificate).differences(self.certificate)
            if differences and not self._shared:
                raise InvalidValueError(
                    f"{self.path} holds rows of another run: {'; '.join(differences)}. "
                    "Write to another folder (--out), or remove this one to start anew"
                )
            if not differences:
                ours.append(row)
        return ours

    def _row(self, number: int, line: bytes) -> R:
        try:
            row = self.row_type.from_dict(json.loads(line))
            type(self.certificate).from_dict(row.certificate)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidValueError(f"{self.path}:{number}: not a benchmark row ({error})") from error
        return row
