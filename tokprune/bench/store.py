"""The row store: a JSON Lines file that survives being killed at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tokprune.bench.certificate import Certificate
from tokprune.bench.row import Row
from tokprune.errors import InvalidValueError


class RowStore:
    """The rows measured so far, in a file. A row is on the disk once `append` returns.

    Args:
        path: The file; it and its folder are made when the first row is appended.
        certificate: What the run that goes on stands for. Rows of other models, data or versions are refused.

    Raises:
        InvalidValueError: The file holds something else than rows, or rows that are not comparable with this run.
    """

    def __init__(self, path: str | Path, certificate: Certificate) -> None:
        self.path = Path(path)
        self.certificate = certificate
        self._whole_bytes = 0
        self.rows = self._read()

    def append(self, row: Row) -> None:
        """Adds one row and hands it to the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Opened for writing in place, so that what a kill left of a last line is cut off and not joined to this row.
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.truncate(self._whole_bytes)
            file.seek(self._whole_bytes)
            file.write(json.dumps(row.to_dict(), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._whole_bytes = file.tell()
        self.rows.append(row)

    def _read(self) -> list[Row]:
        if not self.path.exists():
            return []
        whole, newline, _torn = self.path.read_bytes().rpartition(b"\n")
        self._whole_bytes = len(whole) + len(newline)
        rows = [self._row(number, line) for number, line in enumerate(whole.split(b"\n"), start=1) if line.strip()]
        for row in rows:
            if differences := Certificate.from_dict(row.certificate).differences(self.certificate):
                raise InvalidValueError(
                    f"{self.path} holds rows of another run: {'; '.join(differences)}. "
                    "Write to another folder (--out), or remove this one to start anew"
                )
        return rows

    def _row(self, number: int, line: bytes) -> Row:
        try:
            row = Row.from_dict(json.loads(line))
            Certificate.from_dict(row.certificate)
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidValueError(f"{self.path}:{number}: not a benchmark row ({error})") from error
        return row
