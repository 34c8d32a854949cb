"""Loading: a checkpoint from a local folder or the hub, ready to answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokprune.bench.weightless import weightless
from tokprune.errors import InvalidValueError

DTYPES = ("float32", "bfloat16", "float16")

_PATIENCE = 5.0
"""Seconds that the hub may take to answer."""


def load_checkpoint(
    source: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """Model (in evaluation mode) and processor of a local folder or a hub id.

    Args:
        source: Folder that `save_pretrained` wrote, or a hub id such as `"Salesforce/blip2-opt-2.7b"`.
        device: Torch device.
        dtype: One of `DTYPES`; parts that a model keeps in float32 stay there.
        attention: Attention implementation; None for transformers' own choice.
        trust_remote_code: Run the Python code that the folder or the hub id brings. It may do anything that you may.

    Raises:
        InvalidValueError: It cannot be loaded from there, or the device or dtype is not known.
    """
    if dtype not in DTYPES:
        raise InvalidValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    config = load_config(source, trust_remote_code=trust_remote_code)  # fails at once where there is no model
    with _loading(source, "a model that writes text about images or sound, and its processor") as where:
        kind = _answering_class(config, trust_remote_code)
        where["trust_remote_code"] = trust_remote_code
        processor = _load_processor(source, where)
        model = kind.from_pretrained(source, dtype=getattr(torch, dtype), attn_implementation=attention, **where)
    # Without it the processor would write no placeholders: old checkpoints do not say how many query tokens there are.
    if getattr(processor, "num_query_tokens", 0) is None:
        processor.num_query_tokens = model.config.num_query_tokens
    try:
        return model.eval().to(device), processor
    except (RuntimeError, AssertionError) as error:
        raise InvalidValueError(f"device {device!r}: {str(error).splitlines()[0]}") from error


def load_config(source: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The configuration of a local folder or a hub id.

    Raises:
        InvalidValueError: There is none.
    """
    from transformers import AutoConfig

    with _loading(source, "a model of transformers") as where:
        return AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **where)


def load_shapes(config: Any, name: str | Path) -> Any:
    """The model of a configuration without its weights, of the class that the configuration names.

    Args:
        config: What `load_config` gave.
        name: What the user calls the model, for the message.

    Raises:
        InvalidValueError: The configuration names no class of the transformers that is installed.
    """
    import transformers

    named = [name for name in config.architectures or () if hasattr(transformers, name)]
    if not named:
        raise InvalidValueError(
            f"model {str(name)!r}: its configuration names the architectures {config.architectures}, and the "
            f"installed transformers {transformers.__version__} has none of them"
        )
    return weightless(config, model_class=getattr(transformers, named[0]))


def answers_questions(config: Any) -> bool:
    """Whether the model of a configuration writes text."""
    kind = _named_class(config)
    return hasattr(kind, "generate") if kind else not config.architectures


def _named_class(config: Any) -> Any:
    """The class of transformers that a configuration names; None if it names none, or one that is not installed."""
    import transformers

    return next(
        (getattr(transformers, name) for name in config.architectures or () if hasattr(transformers, name)), None
    )


def _answering_class(config: Any, trust_remote_code: bool) -> Any:
    """What loads the model of a configuration: the class that it names, so that no weight stays untrained.

    Raises:
        InvalidValueError: It names a model that writes no text.
    """
    from transformers import AutoModelForImageTextToText

    kind = None if trust_remote_code else _named_class(config)
    if kind is None:
        return AutoModelForImageTextToText
    if not hasattr(kind, "generate"):
        raise InvalidValueError(
            f"a {kind.__name__} writes no text, so there are no answers to compare; tokprune inspect shows what can "
            "be pruned in it"
        )
    return kind


def _load_processor(source: str | Path, where: dict[str, Any]) -> Any:
    """The processor; where there are only an image processor and a tokenizer, both of them joined."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    processor = AutoProcessor.from_pretrained(source, **where)
    if any(hasattr(processor, part) for part in ("image_processor", "feature_extractor")):
        return processor
    parts = [part.from_pretrained(source, **where) for part in (AutoImageProcessor, AutoTokenizer)]
    return ImagesAlone(*parts)


@dataclass(frozen=True)
class ImagesAlone:
    """The processor of a model that is given pictures and no text: its image processor, and what reads its answers."""

    image_processor: Any
    tokenizer: Any

    def __call__(self, images: Sequence[Sequence[Any]], return_tensors: str) -> Any:
        """What the model takes."""
        return self.image_processor([image for row in images for image in row], return_tensors=return_tensors)

    def batch_decode(self, *args: Any, **options: Any) -> list[str]:
        """Texts of token ids."""
        texts: list[str] = self.tokenizer.batch_decode(*args, **options)
        return texts


@contextmanager
def _loading(source: str | Path, wanted: str) -> Iterator[dict[str, Any]]:
    """Makes one message of whatever goes wrong; a foreign folder can fail in any way.

    Yields:
        More arguments for `from_pretrained`.
    """
    name, local = str(source), os.path.isdir(source)
    if local:
        _refuse_odd_files(name)
    offline = not local and not _hub_answers(name)
    try:
        with _quiet(local):
            yield {"local_files_only": True} if offline else {}
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise InvalidValueError(
                f"model {name!r} brings Python code of its own, which is not run unless you ask for it: read it, and "
                "if you trust it, give --trust-remote-code"
            ) from error
        if offline and isinstance(error, OSError):
            raise InvalidValueError(
                f"model {name!r}: there is no such folder here, and the hub cannot be reached, nor is all of that "
                "model in its cache on this machine. Check the spelling of the folder, or the network"
            ) from error
        place = "folder" if local else "hub id (no such folder here)"
        reason = (str(error).strip() or "no reason given").split("\n")[0].rstrip(".")
        if not isinstance(error, OSError | ValueError | ImportError):
            reason = f"{type(error).__name__}: {reason}"
        raise InvalidValueError(
            f"model {name!r}: cannot be loaded as a {place}: {reason}. Expected a folder or hub id with {wanted}"
        ) from error


def _refuse_odd_files(folder: str) -> None:
    """Reading a pipe or a device would wait for ever."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise InvalidValueError(f"model {folder!r}: {name!r} in it is neither a file nor a folder")


def _hub_answers(name: str) -> bool:
    """Whether the hub says anything about a model, "there is none" included.

    transformers would ask file by file, each several times, and take a minute to find out that there is no network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=_PATIENCE)
    except (HfHubHTTPError, HFValidationError):
        return True
    except Exception:  # what fails underneath depends on the release of huggingface_hub: requests, httpx, ...
        return False
    return True


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
