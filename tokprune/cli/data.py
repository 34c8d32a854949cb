"""--data: a name of the zoo, or a JSON Lines file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

from tokprune.errors import UnknownNameError
from tokprune.samples import Sample


def load_samples(name: str, n: int, seed: int) -> Sequence[Sample]:
    """`n` samples of what the user calls the data, drawn by `seed`.

    Raises:
        UnknownNameError: It is neither a data set of the zoo nor a file.
        InvalidValueError: The file is not right; the message names the line.
    """
    from tokprune import zoo
    from tokprune.bench.questionfile import QuestionFile, draw

    names = zoo.list_datasets()
    if name in names:
        return zoo.load_dataset(name, split="test", n=n, seed=seed)
    if os.path.isfile(name) or name.endswith((".jsonl", ".json")):
        return draw(QuestionFile(name), n, seed)
    close = difflib.get_close_matches(name, names, n=1)
    nearest = f"; did you mean {close[0]!r}" if close else ""
    raise UnknownNameError(
        f"no data is called {name!r}{nearest}. Expected a data set of the zoo ({', '.join(names)}) or a JSON Lines "
        "file of image, question, answers"
    )
