"""The registry: every component by kind and name, and where it comes from. Built on first use, then kept."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy

from tokprune import hookspecs
from tokprune.errors import InvalidValueError, PluginConflictError, PluginError, UnknownNameError, brief
from tokprune.methods import what_to_write
from tokprune.plugins import Plugin, builtin_plugin, installed_plugins, skip_plugin
from tokprune.specs import NAME, format_spec, parse_spec

KINDS = ("scorer", "aggregator", "selector", "reduction", "adapter")
"""The kinds of component."""

_REQUIRED = {"scorer": ("needs",), "reduction": ("removes",), "adapter": ("matches", "offers", "attach")}
"""Attributes without which an object cannot be a component of a kind."""


@dataclass(frozen=True)
class Entry:
    """One registered component."""

    name: str
    kind: str
    cls: type
    distribution: str
    version: str

    @property
    def summary(self) -> str:
        """First line of its documentation."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]

    @property
    def options(self) -> Mapping[str, Any]:
        """Option -> default (`inspect.Parameter.empty` where it must be given)."""
        return {name: p.default for name, p in inspect.signature(self.cls).parameters.items()}


class Registry:
    """Components of a set of plugins.

    Args:
        plugins: the plugins; their names must differ.

    Raises:
        PluginError: a plugin registers something unusable, or two register the same name.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._manager = pluggy.PluginManager("tokprune")
        self._manager.add_hookspecs(hookspecs)
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
        for plugin in plugins:
            self.add(plugin)

    def add(self, plugin: Plugin) -> None:
        """Register what a plugin brings: all of it, or nothing.

        Raises:
            PluginConflictError: a name is taken by another distribution.
            PluginError: the plugin registers something unusable, or nothing at all.
        """
        try:
            self._manager.register(plugin.module, name=plugin.origin)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"{plugin.origin}: {error}") from error
        try:
            self._manager.check_pending()
            entries = list(self._collect(plugin))
            for entry in entries:
                self._check(plugin.origin, entry)
        except BaseException as error:
            self._manager.unregister(name=plugin.origin)
            if isinstance(error, pluggy.PluginValidationError):
                raise PluginError(f"{plugin.origin}: {error}") from error
            raise
        for entry in entries:
            self._entries[entry.kind][entry.name] = entry

    def _collect(self, plugin: Plugin) -> Iterator[Entry]:
        where = plugin.origin
        if not self._manager.get_hookcallers(plugin.module):
            raise PluginError(
                f"{where} registers nothing; write @tokprune.hookimpl above functions such as register_scorers()"
            )
        for kind in KINDS:
            hook = getattr(self._manager.hook, f"register_{kind}s")
            for implementation in hook.get_hookimpls():
                if implementation.plugin_name != plugin.origin:
                    continue
                try:
                    components = implementation.function()
                except (Exception, SystemExit) as error:
                    raise PluginError(f"{where}: register_{kind}s raised {type(error).__name__}: {error}") from error
                if not isinstance(components, Mapping):
                    raise PluginError(f"{where}: register_{kind}s must return a mapping name -> class")
                for name, cls in components.items():
                    yield Entry(name, kind, cls, plugin.distribution, plugin.version)

    def _check(self, where: str, entry: Entry) -> None:
        if not isinstance(entry.name, str) or not NAME.fullmatch(entry.name):
            raise PluginError(f"{where}: {entry.name!r} is not a name; use lower-case words with hyphens between them")
        if not isinstance(entry.cls, type):
            raise PluginError(f"{where}: {entry.kind} {entry.name!r} must be a class, got {entry.cls!r}")
        other = self._entries[entry.kind].get(entry.name)
        if other is not None:
            raise PluginConflictError(
                f"{entry.kind} {entry.name!r} is registered by two distributions, {other.distribution!r} and "
                f"{entry.distribution!r}; uninstall one, or choose with TOKPRUNE_PLUGINS"
            )

    def entries(self, kind: str, pattern: str = "*") -> list[Entry]:
        """Registered components of a kind whose name matches a shell-style pattern, sorted by name."""
        if kind not in self._entries:
            raise UnknownNameError(f"there is no kind of component called {kind!r}; the kinds are {', '.join(KINDS)}")
        return [entry for name, entry in sorted(self._entries[kind].items()) if fnmatch.fnmatchcase(name, pattern)]

    def names(self, kind: str, pattern: str = "*") -> list[str]:
        """Names of `entries`."""
        return [entry.name for entry in self.entries(kind, pattern)]

    def entry(self, kind: str, name: str) -> Entry:
        """The component called `name`; `UnknownNameError` offers the nearest known name and its origin."""
        found = self._entries[kind].get(name)
        if found is not None:
            return found
        close = difflib.get_close_matches(name, self.names(kind), n=1, cutoff=0.5)
        nearest = f"; did you mean {close[0]!r} (from {self._entries[kind][close[0]].distribution})?" if close else "."
        known = ", ".join(f"{e.name} ({e.distribution})" for e in self.entries(kind))
        raise UnknownNameError(
            f"no {kind} is called {name!r}{self._instead(kind, name) or nearest} Known {kind}s: {known}"
        )

    def _instead(self, kind: str, name: str) -> str | None:
        """What to write for the name of a method, or of a component of another kind."""
        method = what_to_write(name)
        if method is not None:
            return f", which is a method: write {method}."
        others = [other for other in KINDS if other != kind and name in self._entries[other]]
        return f"; it is a {others[0]}: write {others[0]}={name!r}." if others else None

    def create(self, kind: str, component: Any) -> Any:
        """A component from a name, a name with options, or an object (returned as it is).

        Raises:
            UnknownNameError: no such name.
            InvalidValueError: unknown options, option values that the component refuses, or not a component at all.
        """
        if isinstance(component, str):
            name, options = parse_spec(component)
            entry = self.entry(kind, name)
            unknown = sorted(set(options) - set(entry.options))
            if unknown:
                known = ", ".join(f"{k}={v!r}" for k, v in entry.options.items()) or "none"
                raise InvalidValueError(f"{kind} {name!r} has no option {unknown[0]!r}; its options: {known}")
            try:
                return entry.cls(**options)
            except InvalidValueError:
                raise
            except (TypeError, ValueError) as error:
                raise InvalidValueError(f"{kind} {component!r}: {error}") from error
        if isinstance(component, type):
            raise InvalidValueError(
                f"{kind} {component.__name__} is a class; give an object: {component.__name__}(...)"
            )
        wanted = _REQUIRED.get(kind, ())
        lacking = [name for name in wanted if not hasattr(component, name)]
        if kind == "adapter" and hasattr(component, "bind"):
            lacking = [name for name in lacking if name == "matches"]  # `bind` stands for the others
        if lacking or (kind != "adapter" and not callable(component)):
            what = f"lacks {', '.join(lacking)}" if lacking else "cannot be called"
            article = "an" if kind[0] == "a" else "a"
            raise InvalidValueError(
                f"{brief(component)} is not {article} {kind}: it {what}. Give a name ({', '.join(self.names(kind))}) "
                "or an object"
            )
        return component

    def spec_of(self, kind: str, component: Any) -> str | None:
        """Name and changed options of a component object, as `create` reads them; None if it is not registered."""
        for entry in self.entries(kind):
            if type(component) is entry.cls:
                fields = dataclasses.fields(component) if dataclasses.is_dataclass(component) else ()
                values = {f.name: getattr(component, f.name) for f in fields if f.init}
                changed = {name: value for name, value in values.items() if entry.options.get(name) != value}
                return format_spec(entry.name, changed)
        return None


@functools.cache
def default_registry() -> Registry:
    """The registry of everything installed. Loaded on first use; `default_registry.cache_clear()` reloads.

    A plugin that cannot be used is skipped with one `PluginWarning`, or raises in strict mode; see `tokprune.plugins`.

    Raises:
        PluginConflictError: two distributions register one name.
    """
    registry = Registry([builtin_plugin()])
    for plugin in installed_plugins():
        try:
            registry.add(plugin)
        except PluginConflictError:
            raise
        except PluginError as error:
            skip_plugin(error)
    return registry
