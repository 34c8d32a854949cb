"""Is a name taken? Two distributions with one component each of a kind and name would shut each other out."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from tokprune.errors import InvalidValueError
from tokprune.registry import default_registry
from tokprune.scaffold.names import Names


def check_free(names: Names) -> None:
    """Raise `InvalidValueError` if a component of this kind and name, or a distribution of this name, is installed."""
    for entry in default_registry().entries(names.kind):
        if entry.name == names.name:
            raise InvalidValueError(
                f"there is a {names.kind} {names.name!r} already, from {entry.distribution} {entry.version}, and two "
                "of one name shut each other out; choose another name"
            )
    try:
        version = distribution(names.distribution).version
    except PackageNotFoundError:
        return
    raise InvalidValueError(
        f"{names.distribution} {version} is installed already, and a new one would take its place; choose another "
        f"name, or first: pip uninstall {names.distribution}"
    )
