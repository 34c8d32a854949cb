"""The call that the user makes: its arguments by name, how it wants to generate, and the prompt in its answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.callbacks import WholePrompt
from tokprune.adapters.upstream import ENCODED, ENCODED_EARLIER
from tokprune.errors import UnsupportedCallError


def named_arguments(method: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call of `method` by name.

    Example:
        >>> named_arguments(lambda input_ids, labels=None: None, (1,), {"labels": 2})
        {'input_ids': 1, 'labels': 2}
    """
    return {**dict(zip(inspect.signature(method).parameters, args, strict=False)), **kwargs}


class Options:
    """How a generation is to be done: what the call says, else its configuration, else the model's own.

    Args:
        arguments: those of the call.
        model: whose `generate` is called.
    """

    def __init__(self, arguments: Mapping[str, Any], model: nn.Module) -> None:
        self.places = (arguments, arguments.get("generation_config"), getattr(model, "generation_config", None))

    def get(self, name: str) -> Any:
        """The value of an option; None if nobody sets it."""
        found = (place.get(name) if isinstance(place, Mapping) else getattr(place, name, None) for place in self.places)
        return next((value for value in found if value is not None), None)

    def first(self, names: Sequence[str]) -> str | None:
        """The first of several options that is asked for, as `name=value`; None if none is."""
        for name in names:
            value = self.get(name)
            if value is not None and value is not False:
                return name if isinstance(value, nn.Module) else f"{name}={value!r}"
        return None


def refuse_precomputed(arguments: Mapping[str, Any], what: str, instead: str) -> None:
    """Raise `UnsupportedCallError` if the call brings what an image encoder would have made."""
    name = encoded_before(arguments)
    if name is not None:
        raise UnsupportedCallError(
            f"{name} brings {what} that were computed earlier, so there are no votes to prune them by; "
            f"pass {instead} instead, or call handle.remove() first"
        )


def encoded_before(arguments: Mapping[str, Any]) -> str | None:
    """Which argument brings images that were encoded earlier; transformers itself passes an empty dict for none."""
    encoded = arguments.get(ENCODED)
    if encoded is not None and (not isinstance(encoded, Mapping) or encoded.get("image") is not None):
        return ENCODED
    return ENCODED_EARLIER if arguments.get(ENCODED_EARLIER) is not None else None


def put_prompt_back(output: Any, prompt: WholePrompt) -> Any:
    """What `generate` returned, the shorter prompt in it replaced by the whole one."""
    if isinstance(output, Tensor):
        return prompt.before(output)
    output.sequences = prompt.before(output.sequences)
    return output
