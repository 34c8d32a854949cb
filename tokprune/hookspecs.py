"""The five hooks through which every component comes in, built-ins included. Entry-point group: `tokprune`."""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

hookspec = pluggy.HookspecMarker("tokprune")
hookimpl = pluggy.HookimplMarker("tokprune")
"""Decorator for a plugin's functions: `@tokprune.hookimpl`."""


@hookspec
def register_scorers() -> Mapping[str, type]:
    """Return name -> class of the scorers this plugin adds."""
    raise NotImplementedError


@hookspec
def register_aggregators() -> Mapping[str, type]:
    """Return name -> class of the aggregators this plugin adds."""
    raise NotImplementedError


@hookspec
def register_selectors() -> Mapping[str, type]:
    """Return name -> class of the selectors this plugin adds."""
    raise NotImplementedError


@hookspec
def register_reductions() -> Mapping[str, type]:
    """Return name -> class of the reductions this plugin adds."""
    raise NotImplementedError


@hookspec
def register_adapters() -> Mapping[str, type]:
    """Return name -> class of the adapters this plugin adds."""
    raise NotImplementedError
