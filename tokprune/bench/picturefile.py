"""A picture file: found and opened in one place, with an error that says who asked for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tokprune.errors import InvalidValueError

_WHITE = 2**16 - 1


def open_picture(path: Path, where: str) -> Image.Image:
    """The picture in RGB, read whole, the right way up: turned as its EXIF says, 16 bits of grey made 8.

    Args:
        path: The file.
        where: Who asks for it, for the message: a file and its line, or an option.

    Raises:
        InvalidValueError: There is no file, or it is no picture; the message begins with `where`.
    """
    if not os.path.isfile(path):  # a path that is too long for the system is no error here
        found = ": it is a folder, a pipe or a device" if os.path.exists(path) else ""
        raise InvalidValueError(f"{where}: no image at {path}{found}")
    try:
        with Image.open(path) as picture:
            return _eight_bits(ImageOps.exif_transpose(picture)).convert("RGB")
    except Exception as error:  # a broken file can fail in any way: SyntaxError, struct.error, a decompression bomb
        raise InvalidValueError(f"{where}: cannot open image {path}: {error}") from error


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled; `convert` would show everything above 255 as white."""
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which have no agreed white; save it with 8 bits")
    if not picture.mode.startswith("I"):
        return picture
    extrema: Any = picture.getextrema()
    lowest, highest = extrema if picture.mode == "I" else (0, _WHITE)
    if lowest < 0 or highest > _WHITE:
        raise ValueError("its pixels have more than 16 bits, which have no agreed white; save it with 8 bits")
    return picture.convert("I").point(lambda value: value * (255 / _WHITE) + 0.5).convert("L")
