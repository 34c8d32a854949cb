"""Loading: a checkpoint from a local folder or the hub, ready to answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tokprune.bench.weightless import weightless
from tokprune.errors import InvalidValueError

DTYPES = ("float32", "bfloat16", "float16")


def load_checkpoint(
    source: str | Path, *, device: str = "cpu", dtype: str = "float32", attention: str | None = None
) -> tuple[Any, Any]:
    """Model (in evaluation mode) and processor of a local folder or a hub id.

    Args:
        source: Folder that `save_pretrained` wrote, or a hub id such as `"Salesforce/blip2-opt-2.7b"`.
        device: Torch device.
        dtype: One of `DTYPES`; parts that a model keeps in float32 stay there.
        attention: Attention implementation; None for transformers' own choice.

    Raises:
        InvalidValueError: It cannot be loaded from there, or the device or dtype is not known.
    """
    if dtype not in DTYPES:
        raise InvalidValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    try:
        with _quiet(Path(source).is_dir()):
            AutoConfig.from_pretrained(source)  # fails at once where there is no model
            processor = AutoProcessor.from_pretrained(source)
            model = AutoModelForImageTextToText.from_pretrained(
                source, dtype=getattr(torch, dtype), attn_implementation=attention
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        place = "folder" if Path(source).is_dir() else "hub id (no such folder here)"
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InvalidValueError(
            f"model {str(source)!r}: cannot be loaded as a {place}: {reason}. Expected a folder or hub id with an "
            "image-text-to-text model and its processor"
        ) from error
    # Without it the processor would write no placeholders: old checkpoints do not say how many query tokens there are.
    if getattr(processor, "num_query_tokens", 0) is None:
        processor.num_query_tokens = model.config.num_query_tokens
    try:
        return model.eval().to(device), processor
    except (RuntimeError, AssertionError) as error:
        raise InvalidValueError(f"device {device!r}: {str(error).splitlines()[0]}") from error


def load_shapes(source: str | Path) -> Any:
    """The model of a local folder or a hub id without its weights, of the class that its configuration names.

    Raises:
        InvalidValueError: There is no configuration, or it names no class of the transformers that is installed.
    """
    import transformers

    try:
        with _quiet(Path(source).is_dir()):
            config = transformers.AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidValueError(f"model {str(source)!r}: {str(error).splitlines()[0]}") from error
    named = [name for name in config.architectures or () if hasattr(transformers, name)]
    if not named:
        raise InvalidValueError(
            f"model {str(source)!r}: its configuration names the architectures {config.architectures}, and the "
            f"installed transformers {transformers.__version__} has none of them"
        )
    return weightless(config, model_class=getattr(transformers, named[0]))


def answers_questions(source: str | Path) -> bool:
    """Whether a local folder or a hub id has a model that `load_checkpoint` loads as what it is."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    try:
        with _quiet(Path(source).is_dir()):
            config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError):
        return True  # what is wrong is for whoever loads it to say
    return not config.architectures or KNOWN.get(config.model_type) in config.architectures


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Without transformers' progress bars: a folder is read at once; a download is worth a bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if quiet:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
