"""Find installed plugins: entry points of group `tokprune`, filtered by environment variables.

`TOKPRUNE_PLUGINS` (a comma-separated list of entry-point names; empty for none) limits which are loaded;
`TOKPRUNE_STRICT_PLUGINS=1` turns the warning about a plugin that cannot be loaded into an error.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

from tokprune.errors import PluginError, PluginWarning

GROUP = "tokprune"


@dataclass(frozen=True, eq=False)
class Plugin:
    """A loaded plugin and the distribution it came with."""

    name: str
    module: Any
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """Name and distribution, for messages; two distributions may use the same name."""
        return f"plugin {self.name!r} of distribution {self.distribution!r}"


def builtin_plugin() -> Plugin:
    """The components that ship with tokprune itself."""
    from tokprune import builtin

    return Plugin("builtin", builtin, "tokprune", version("tokprune"))


def skip_plugin(error: PluginError) -> None:
    """Warn that a plugin is skipped because of `error`; in strict mode raise it instead."""
    if os.environ.get("TOKPRUNE_STRICT_PLUGINS", "") not in ("", "0"):
        raise error
    warnings.warn(f"{error}; none of its components are available", PluginWarning, stacklevel=3)


def plugins_of(distribution: str) -> Iterator[Plugin]:
    """Load the plugins of one distribution, whatever the environment variables say.

    Raises:
        PluginError: it is not installed, it has no entry point in group `tokprune`, or it cannot be loaded.
    """
    points = [point for point in entry_points(group=GROUP) if _same(_distribution(point)[0], distribution)]
    if not points:
        raise PluginError(
            f"no installed distribution called {distribution!r} has an entry point in group {GROUP!r}; those that have "
            f"one: {', '.join(plugin_distributions()) or 'none'}"
        )
    for point in sorted(points, key=lambda point: point.name):
        yield _load(point)


def plugin_distributions() -> list[str]:
    """Names of the installed distributions with an entry point in group `tokprune`, sorted."""
    return sorted({_distribution(point)[0] for point in entry_points(group=GROUP)})


def installed_plugins() -> Iterator[Plugin]:
    """Load every installed plugin; one that fails is skipped with one `PluginWarning`, or raises in strict mode."""
    listed = os.environ.get("TOKPRUNE_PLUGINS")
    wanted = None if listed is None else {name.strip() for name in listed.split(",") if name.strip()}
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    for point in found:
        if wanted is not None and point.name not in wanted:
            continue
        try:
            plugin = _load(point)
        except PluginError as error:
            skip_plugin(error)
            continue
        yield plugin
    missing = sorted((wanted or set()) - {point.name for point in found})
    if missing:
        raise PluginError(
            f"TOKPRUNE_PLUGINS names {missing}, but the installed plugins are {[point.name for point in found]}"
        )


def _load(point: EntryPoint) -> Plugin:
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # a script that was packed as a plugin ends the program
        raise PluginError(
            f"plugin {point.name!r} of distribution {_distribution(point)[0]!r} could not be loaded "
            f"({type(error).__name__}: {error})"
        ) from error
    return Plugin(point.name, module, *_distribution(point))


def _same(name: str, other: str) -> bool:
    """Whether two spellings name one distribution: case, hyphens, underscores and full stops do not count."""
    return re.sub(r"[-_.]+", "-", name).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
