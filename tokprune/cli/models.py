"""MODEL: a name of the zoo, a local folder, or a hub id."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from tokprune.errors import UnknownNameError


def load(name: str, *, device: str = "cpu", dtype: str = "float32", trust_remote_code: bool = False) -> tuple[Any, Any]:
    """Model and processor of what the user calls MODEL.

    Raises:
        UnknownNameError: It is neither in the zoo, nor a folder, nor can it be a hub id.
        InvalidValueError: It is there but cannot be loaded.
    """
    from tokprune.bench.loading import load_checkpoint

    warn_of_remote_code(name, trust_remote_code)
    return load_checkpoint(find(name), device=device, dtype=dtype, trust_remote_code=trust_remote_code)


def warn_of_remote_code(name: str, trust_remote_code: bool) -> None:
    """Says on stderr what --trust-remote-code means, where it was given."""
    from tokprune.bench.console import stderr

    if trust_remote_code:
        warning = f"Warning: Python code that {name} brings is run, and may do anything that you may."
        stderr().print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)


def find(name: str) -> str | Path:
    """Where what the user calls MODEL is: a folder, or a hub id.

    Raises:
        UnknownNameError: It is neither in the zoo, nor a folder, nor can it be a hub id.
    """
    from tokprune import zoo

    names = zoo.list_models()
    if name in names:
        return zoo.model_path(name)
    if not os.path.isdir(name) and "/" not in name:
        close = difflib.get_close_matches(name, names, n=1)
        nearest = f"; did you mean {close[0]!r}" if close else ""
        raise UnknownNameError(
            f"no model is called {name!r}{nearest}. Expected a model of the zoo ({', '.join(names)}), a local folder, "
            "or a hub id such as 'Salesforce/blip2-opt-2.7b'"
        )
    return name
