"""The shape of transformers that a pruned call relies on, asked for when a policy is applied.

A release that renames an argument does not say so: `**kwargs` takes the old name, and what a hook reads is then always
None. So each mechanism declares what it reads, replaces and stands in for, and a policy is refused where the installed
release has it under another name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tokprune.adapters.upstream import OPTIONS
from tokprune.compiled import unwrap_compiled
from tokprune.errors import AdapterError

Name = str | tuple[str, ...]
"""A name, or several of which one is enough."""

_LIBRARIES = ("transformers", "timm")


@dataclass(frozen=True, eq=False)
class Relied:
    """What is relied on of one object: a method that takes arguments by name, or attributes (`method` None)."""

    owner: Any
    method: str | None
    names: tuple[Name, ...]

    def missing(self) -> list[str]:
        """In words, what is not there."""
        kind = type(self.owner).__name__
        if self.method is None:
            return [f"{kind} has no {_words(name)}" for name in self.names if not _any(name, self.owner)]
        if not hasattr(self.owner, self.method):
            return [f"{kind} has no method {self.method!r}"]
        taken = _parameters(type(self.owner), self.method)
        absent = () if taken is None else tuple(n for n in self.names if not set(_several(n)) & set(taken))
        return [f"{kind}.{self.method} takes no {_words(name)}" for name in absent]


def takes(owner: Any, method: str, *arguments: Name) -> Relied:
    """`owner` has a method that takes these arguments by name."""
    return Relied(unwrap_compiled(owner), method, arguments)


def has(owner: Any, *attributes: Name) -> Relied:
    """`owner` has these attributes."""
    return Relied(owner, None, attributes)


def generates(model: Any) -> list[Relied]:
    """What is relied on of a model's `generate`, if it has one."""
    config = getattr(model, "generation_config", None)
    if not hasattr(model, "generate") or config is None:
        return []
    return [takes(model, "generate"), has(config, *OPTIONS)]


def checkpoints(layers: Iterable[Any]) -> list[Relied]:
    """What says that a layer is run again in backward, of the layers that transformers can do that with."""
    found = {type(layer): layer for layer in layers}
    known = (kind for kind in found if any(cls.__name__ == "GradientCheckpointingLayer" for cls in kind.__mro__))
    return [has(found[kind], "gradient_checkpointing") for kind in known]


def check_shape(model: Any, where: str, relied: Iterable[Relied]) -> None:
    """Raise `AdapterError` unless all that is `relied` on is there."""
    missing = [each for one in relied for each in one.missing()]
    if missing:
        raise unknown_shape(model, where, "; ".join(dict.fromkeys(missing)))


@contextmanager
def known_shape(model: Any, where: str) -> Iterator[None]:
    """Turn an attribute of the model or its configuration that is not there into the error that says so."""
    try:
        yield
    except AttributeError as error:
        raise unknown_shape(model, where, str(error)) from error


def unknown_shape(model: Any, where: str, missing: str) -> AdapterError:
    """The error for a model that is built otherwise than its adapter expects."""
    return AdapterError(
        f"{where}: {type(model).__name__} of {release_of(model)} is not built as expected: {missing}. Nothing was "
        "changed; install a release that this tokprune supports, or a newer tokprune"
    )


def release_of(model: Any) -> str:
    """The library that `model` comes from, and which release of it is installed."""
    roots = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    library = next((root for root in roots if root in _LIBRARIES), roots[0])
    return f"{library} {getattr(sys.modules.get(library), '__version__', '(unknown release)')}"


def _parameters(kind: type, method: str) -> Mapping[str, inspect.Parameter] | None:
    """What a library's own method takes; None if it is not the library's, or does not say.

    A wrapper or a subclass of the user's passes on what it is given, by whatever names: what counts is what arrives.
    """
    for cls in kind.__mro__:
        if cls.__module__.partition(".")[0] in _LIBRARIES and method in vars(cls):
            parameters = inspect.signature(vars(cls)[method]).parameters
            if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values()):
                return parameters
    return None


def _several(name: Name) -> tuple[str, ...]:
    return (name,) if isinstance(name, str) else name


def _any(name: Name, owner: Any) -> bool:
    return any(hasattr(owner, each) for each in _several(name))


def _words(name: Name) -> str:
    return " or ".join(repr(each) for each in _several(name))
