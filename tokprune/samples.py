"""One visual question, or one sound, with its accepted answers: what data sets yield and benchmarks consume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import ndarray
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording in one channel."""

    values: ndarray[Any, Any]
    """float32 `[time]` from -1 to 1."""
    rate: int
    """Values a second."""

    def at(self, rate: int) -> ndarray[Any, Any]:
        """The values at another rate."""
        if rate == self.rate:
            return self.values
        from scipy.signal import resample_poly

        values: ndarray[Any, Any] = resample_poly(self.values, rate, self.rate).astype("float32")
        return values


@dataclass(frozen=True, eq=False)
class Sample:
    """One visual question, or one sound.

    Fields can be read as attributes (`sample.question`) or as keys (`sample["question"]`), as in other data sets.
    """

    id: str
    """Unique and stable name within its data set: results are keyed by it, so an interrupted run can resume."""
    image: Image | None
    """RGB picture; None where the sample is a sound."""
    question: str
    """The question alone, without a prompt template around it; empty where only a caption or a transcript is wanted."""
    answers: tuple[str, ...]
    """Accepted answers, at least one; the first is shown in tables."""
    kind: str = ""
    """Kind of question ("colour", "count", ...), or empty."""
    sound: Sound | None = None
    """Recording; None where the sample is a picture."""

    @property
    def answer(self) -> str:
        """The first accepted answer."""
        return self.answers[0]

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None
