"""Loading what is bundled: the model with its processor, the data set with its splits."""

from __future__ import annotations

from typing import Any

from tokprune.zoo.names import check_name, list_datasets, model_path
from tokprune.zoo.shapes_vqa import ShapesVqa


def load_model(name: str = "blip2-shapes", device: Any = "cpu", dtype: Any = None) -> tuple[Any, Any]:
    """A bundled model and its processor, ready to answer.

    Args:
        name: One of `list_models()`.
        device: Where to put the model.
        dtype: Number type of the weights; float32 unless given, though the file stores them in half precision.

    Returns:
        A `transformers.Blip2ForConditionalGeneration` in evaluation mode and its `transformers.Blip2Processor`.

    Raises:
        tokprune.errors.UnknownNameError: There is no bundled model of that name.

    Example:
        >>> model, processor = load_model("blip2-shapes")
    """
    folder = model_path(name)
    import torch
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    model = Blip2ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32 if dtype is None else dtype, trust_remote_code=False
    )
    return model.to(device).eval(), AutoProcessor.from_pretrained(folder, trust_remote_code=False)


def load_dataset(name: str = "shapes-vqa", split: str = "test", n: int = 1000, seed: int = 0) -> ShapesVqa:
    """The first `n` samples of a split of a bundled data set, a sequence of `tokprune.samples.Sample`.

    Args:
        name: One of `list_datasets()`.
        split: `"train"`, `"calibration"` or `"test"`; no scene is in two of them, whatever the seeds.
        n: How many samples; fewer are always the beginning of more.
        seed: Another seed gives other samples of the same split.

    Raises:
        tokprune.errors.UnknownNameError: There is no such data set or split.
        tokprune.errors.InvalidValueError: `n` is not a positive integer.

    Example:
        >>> sample = load_dataset("shapes-vqa", split="test", n=10)[0]
        >>> sample.question, sample.answer
        ('what colour is the small object?', 'blue')
    """
    check_name("data set", name, list_datasets())
    return ShapesVqa(split, n, seed)
