"""A sound file: found and read in one place, with an error that says who asked for it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from tokprune.errors import InvalidValueError
from tokprune.samples import Sound


def open_sound(path: Path, where: str) -> Sound:
    """The recording of a WAV file, its channels averaged.

    Args:
        path: The file.
        where: Who asks for it, for the message: a file and its line, or an option.

    Raises:
        InvalidValueError: There is no file, or it is no WAV file; the message begins with `where`.
    """
    import numpy as np
    from scipy.io import wavfile

    if not os.path.isfile(path):
        raise InvalidValueError(f"{where}: no sound at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that are about other things
            rate, values = wavfile.read(path)
    except Exception as error:  # a broken file can fail in any way: struct.error, MemoryError
        raise InvalidValueError(
            f"{where}: cannot read sound {path}: {str(error).rstrip('.')}. Expected a WAV file"
        ) from error
    if values.dtype == np.uint8:  # the one width that WAV stores without a sign
        values = (values.astype(np.int16) - 128) * 256
    if np.issubdtype(values.dtype, np.integer):
        values = values / -float(np.iinfo(values.dtype).min)
    mono = values.astype(np.float32)
    return Sound(mono if mono.ndim == 1 else mono.mean(axis=1), rate)
