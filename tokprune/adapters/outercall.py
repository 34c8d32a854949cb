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
    if not args:
        return dict(kwargs)
    return {**dict(zip(_names(method), args, strict=False)), **kwargs}


def _names(method: Callable[..., Any]) -> list[str]:
    """What a method calls its arguments; what a class does that takes any number of them, its bases say.

    Raises:
        UnsupportedCallError: no base says it either.
    """
    names = _named(method)
    if names is not None:
        return names
    module = getattr(method, "__self__", getattr(method, "module", None))
    for cls in type(module).__mro__:
        names = _named(vars(cls)[method.__name__]) if method.__name__ in vars(cls) else None
        if names is not None:
            return names[1:]  # without `self`
    raise UnsupportedCallError(
        f"{type(module).__name__}.{method.__name__} takes any number of arguments by position, so which is which is "
        "not known; pass them by name"
    )


def _named(method: Callable[..., Any]) -> list[str] | None:
    parameters = inspect.signature(method).parameters.values()
    return None if any(each.kind is each.VAR_POSITIONAL for each in parameters) else [each.name for each in parameters]


class Options:
    """How a generation is to be done: what the call says, else its configuration, else the model's own.

    Args:
        arguments: those of the call.
        model: whose `generate` is called.
    """

    def __init__(self, arguments: Mapping[str, Any], model: nn.Module) -> None:
        self.places = (arguments, arguments.get("generation_config"), getattr(model, "generation_config", None))

    def get(self, name: str) -> Any:
        """The value of an option; None if it is not set."""
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
