"""A picture file: found and opened in one place, with an error that says who asked for it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tokprune.errors import InvalidValueError


def open_picture(path: Path, where: str) -> Image.Image:
    """The picture in RGB, read whole.

    Args:
        path: The file.
        where: Who asks for it, for the message: a file and its line, or an option.

    Raises:
        InvalidValueError: There is no file, or it is no picture; the message begins with `where`.
    """
    if not path.is_file():
        raise InvalidValueError(f"{where}: no image at {path}")
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InvalidValueError(f"{where}: cannot open image {path}: {error}") from error
