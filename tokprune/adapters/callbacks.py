"""User code that `generate` runs: it is shown the whole prompt, and a call that it makes is a call of its own."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.calls import no_calls
from tokprune.adapters.hooks import MethodShim
from tokprune.adapters.upstream import (
    MERGE_LISTS,
    PREFIX_FUNCTION,
    STREAMER,
    USER_LISTS,
    asks_model,
    comes_with_transformers,
    with_length_limit,
)
from tokprune.errors import AdapterError, UnsupportedCallError


@dataclass(frozen=True, eq=False)
class WholePrompt:
    """The prompt of a generation as it came, for those who are not to see the shorter one.

    Attributes:
        ids: `[row sequence]`.
        shorter: how many tokens the language model's prompt has.
    """

    ids: Tensor
    shorter: int

    @property
    def dropped(self) -> int:
        """How many tokens the language model's prompt has fewer."""
        return self.ids.shape[1] - self.shorter

    def before(self, ids: Tensor) -> Tensor:
        """`ids` `[row * copies, shorter + new]` with the whole prompt in place of the shorter one."""
        prompt = self.ids.to(ids.device)
        prompt = prompt.repeat_interleave(ids.shape[0] // prompt.shape[0], dim=0)
        return torch.cat([prompt, ids[:, self.shorter :]], dim=1)


class Shown:
    """A logits processor or stopping criterion of the user: what it is called with is what it would see unpruned.

    Args:
        user: the object.
        prompt: what it is shown; None where the prompt was not shortened.
    """

    def __init__(self, user: Any, prompt: WholePrompt | None) -> None:
        self.user, self.prompt = user, prompt
        # `generate` reads the signature of this attribute to find what else a processor takes.
        self.__dict__["__call__"] = user.__call__

    def __call__(self, ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Call the user's object."""
        if self.prompt is not None:
            ids = self.prompt.before(ids)
        with no_calls():
            return self.user(ids, *args, **kwargs)


class ShownPrefix:
    """The user's `prefix_allowed_tokens_fn`; `Merging` shows the whole prompt to the processor that calls it."""

    def __init__(self, user: Callable[..., Any], prompt: WholePrompt | None) -> None:
        self.user, self.prompt = user, prompt

    def __call__(self, row: int, ids: Tensor) -> Any:
        """Call the user's function."""
        with no_calls():
            return self.user(row, ids)


class ShownStreamer:
    """The user's streamer, which gets the prompt first and then the new tokens."""

    def __init__(self, user: Any, prompt: WholePrompt | None) -> None:
        self.user, self.prompt = user, prompt

    def put(self, value: Tensor) -> None:
        """Hand on a prompt or new tokens."""
        if self.prompt is not None:
            value, self.prompt = self.prompt.before(value), None
        with no_calls():
            self.user.put(value)

    def end(self) -> None:
        """Hand on the end."""
        with no_calls():
            self.user.end()


class Merging:
    """Stands in for the method by which `generate` joins the user's processors and criteria with its own.

    It goes by their types: one of the user's takes the place of its own of the same type. So it is shown the objects of
    the user, and what it gives are the wrapped ones again.

    Args:
        owner: the cut that it is part of.
    """

    def __init__(self, owner: object) -> None:
        self.owner = owner

    def __call__(self, original: Callable[..., Any], default: Any, custom: Any) -> Any:
        """The joined list."""
        for index, each in enumerate(default):
            prefix = next((part for part in vars(each).values() if isinstance(part, ShownPrefix)), None)
            if prefix is not None:  # only its processor knows which row belongs to which prompt
                default[index] = Shown(each, prefix.prompt)
            elif asks_model(each):
                default[index] = Shown(each, None)
        wrapped = {id(each.user): each for each in custom if isinstance(each, Shown)}
        merged = original(default, [each.user if isinstance(each, Shown) else each for each in custom])
        for index, each in enumerate(merged):
            merged[index] = wrapped.get(id(each), each)
        return merged


def merging(owner: object, module: nn.Module) -> MethodShim:
    """A shim of the cut `owner` that lets `module`, whose `generate` runs, join lists by what the user gave."""
    if not hasattr(module, MERGE_LISTS):
        raise AdapterError(
            f"{type(module).__name__} of this release of transformers has a generate, but no {MERGE_LISTS}, by which "
            "user code is shown the whole prompt; install a release that tokprune supports"
        )
    return MethodShim(module, MERGE_LISTS, Merging(owner))


def refuse_custom(arguments: Mapping[str, Any]) -> None:
    """Raise `UnsupportedCallError` for a decoding loop of the user's own, which would be given the shorter prompt."""
    if arguments.get("custom_generate") is not None:
        raise UnsupportedCallError(
            "custom_generate is given the prompt that the language model reads, from which tokens were dropped; "
            "generate without it, or call handle.remove() first"
        )


def shown(
    method: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], prompt: WholePrompt | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a `generate`, in which code of the user sees the whole prompt, outside of the call under way."""
    names = inspect.signature(method).parameters
    positional = tuple(_shown(name, value, prompt) for name, value in zip(names, args, strict=False))
    return positional + tuple(args[len(positional) :]), {n: _shown(n, value, prompt) for n, value in kwargs.items()}


def _shown(name: str, value: Any, prompt: WholePrompt | None) -> Any:
    if value is None:
        return None
    if name in USER_LISTS:
        found = copy.copy(value) if isinstance(value, list) else list(value)
        found[:] = [_each(each, prompt) for each in value]
        return found
    if name == PREFIX_FUNCTION:
        return ShownPrefix(value, prompt)
    return ShownStreamer(value, prompt) if name == STREAMER else value


def _each(user: Any, prompt: WholePrompt | None) -> Any:
    if comes_with_transformers(user):
        if prompt is None:
            return user  # it calls no model, and other parts of `generate` may ask for its type
        shifted = with_length_limit(user, prompt.dropped)
        if shifted is not None:
            return shifted
    return Shown(user, prompt)
