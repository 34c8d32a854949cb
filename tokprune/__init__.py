"""Token pruning for vision-language models as an election: pluggable scorers, voting rules and selectors.

>>> import tokprune
>>> tokprune.list_scorers("catp*")
['catp-vote', 'catp-weighted']
"""

from __future__ import annotations

import importlib
from typing import Any

from tokprune import aggregators, errors, functional, reductions, scorers, selectors
from tokprune.apply import apply
from tokprune.candidates import AttentionStack, inspect_attention
from tokprune.errors import (
    AdapterError,
    AlreadyAppliedError,
    BackendError,
    InvalidValueError,
    PluginConflictError,
    PluginError,
    PluginWarning,
    SignalError,
    TokpruneError,
    UnknownNameError,
    UnprunedWarning,
    UnsupportedCallError,
)
from tokprune.fit import adapter_for
from tokprune.handle import Handle, handles_of
from tokprune.handles import Handles
from tokprune.hookspecs import hookimpl
from tokprune.interfaces import Choice, Groups
from tokprune.listing import list_adapters, list_aggregators, list_reductions, list_scorers, list_selectors
from tokprune.observe import observe
from tokprune.policy import Policy
from tokprune.pooled import PooledVotes
from tokprune.report import Report
from tokprune.signal import Signal, Text
from tokprune.votes import AttentionVotes, Votes

__version__ = "0.1.0"

__all__ = [
    "AdapterError",
    "AlreadyAppliedError",
    "AttentionStack",
    "AttentionVotes",
    "BackendError",
    "Choice",
    "Groups",
    "Handle",
    "Handles",
    "InvalidValueError",
    "PluginConflictError",
    "PluginError",
    "PluginWarning",
    "Policy",
    "PooledVotes",
    "Report",
    "Signal",
    "SignalError",
    "Text",
    "TokpruneError",
    "UnknownNameError",
    "UnprunedWarning",
    "UnsupportedCallError",
    "Votes",
    "adapter_for",
    "aggregators",
    "apply",
    "errors",
    "functional",
    "handles_of",
    "hookimpl",
    "inspect_attention",
    "list_adapters",
    "list_aggregators",
    "list_reductions",
    "list_scorers",
    "list_selectors",
    "observe",
    "reductions",
    "scorers",
    "selectors",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the zoo and the test kit are not needed to prune a model.
    if name in ("zoo", "testing", "bench"):
        return importlib.import_module(f"tokprune.{name}")
    raise AttributeError(f"module 'tokprune' has no attribute {name!r}")
