"""MODEL of `tokprune speed`: what `tokprune.cli.models` knows, or a real size with random weights."""

from __future__ import annotations

import os
from typing import Any

from tokprune.errors import InvalidValueError, UnknownNameError


def is_size(name: str) -> bool:
    """Whether what the user calls MODEL is a real size."""
    from tokprune.bench.sizes import REAL_SIZES

    return name.partition(":")[0] in REAL_SIZES


def load_for_speed(
    name: str, *, device: str, dtype: str, attention: str, seed: int, trust_remote_code: bool = False
) -> Any:
    """The model that the user calls MODEL, without gradients.

    Raises:
        UnknownNameError: It is neither a size, nor in the zoo, nor a folder, nor can it be a hub id.
        InvalidValueError: It is there but cannot be loaded, or a size, dtype, device or attention is not known.
    """
    import difflib

    from tokprune import zoo
    from tokprune.bench.loading import DTYPES, load_checkpoint
    from tokprune.bench.randomweights import random_model
    from tokprune.bench.sizes import REAL_SIZES, real_size_config

    if dtype not in DTYPES:
        raise InvalidValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if is_size(name):
        return random_model(real_size_config(name), device=device, dtype=dtype, attention=attention, seed=seed)
    known = [*zoo.list_models(), *REAL_SIZES]
    if name not in known and "/" not in name and not os.path.isdir(name):
        close = difflib.get_close_matches(name, known, n=1)
        nearest = f"; did you mean {close[0]!r}" if close else ""
        raise UnknownNameError(
            f"no model is called {name!r}{nearest}. Expected a model of the zoo ({', '.join(zoo.list_models())}), a "
            f"real size with random weights ({', '.join(REAL_SIZES)}), a local folder, or a hub id such as "
            "'Salesforce/blip2-opt-2.7b'"
        )
    source = zoo.model_path(name) if name in zoo.list_models() else name
    model, _ = load_checkpoint(
        source, device=device, dtype=dtype, attention=attention, trust_remote_code=trust_remote_code
    )
    return model.requires_grad_(False)
