"""One visual question with its accepted answers: what data sets yield and benchmarks consume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Sample:
    """One visual question.

    Fields can be read as attributes (`sample.question`) or as keys (`sample["question"]`), as in other data sets.
    """

    id: str
    """Unique and stable name within its data set: results are keyed by it, so an interrupted run can resume."""
    image: Image
    """RGB picture."""
    question: str
    """The question alone, without a prompt template around it."""
    answers: tuple[str, ...]
    """Accepted answers, at least one; the first is shown in tables."""
    kind: str = ""
    """Kind of question ("colour", "count", ...), or empty."""

    @property
    def answer(self) -> str:
        """The first accepted answer."""
        return self.answers[0]

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None
