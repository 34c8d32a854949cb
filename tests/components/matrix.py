"""Every registered component, read from the registry: an addition inherits all tests of this folder.

What a component cannot be asked is written here, in one place, and nowhere else.
"""

import pytest

from tokprune.plugins import builtin_plugin
from tokprune.registry import Registry
from tokprune.testing import aggregators, reductions, scorers, selectors

REGISTRY = Registry([builtin_plugin()])

VARIANTS = {
    "borda": ["backend=reference"],
    "catp-vote": ["layers=first", "layers=last", "layers=[0,2]", "layers=[-1]", "order=sum-then-rank"],
    "catp-weighted": ["layers=first", "layers=[0,2]", "weighting=share"],
    "focus": ["layers=first", "layers=last", "layers=[1]"],
    "random": ["seed=1"],
    "received-attention": ["layers=all", "layers=first", "layers=[0,3]"],
    "self-attention": ["layers=first", "layers=last", "layers=[0,3]"],
    "sum": ["backend=reference"],
    "text-attention": ["voters=all", "layers=all", "layers=first", "layers=[0,3]"],
}
"""Other options to try a component with; no options are always tried."""

LAWS = {
    "scorer": scorers.LAWS,
    "aggregator": aggregators.LAWS,
    "selector": selectors.LAWS,
    "reduction": reductions.LAWS,
}


def specs(kind):
    """Every registered component of a kind as text, with each of its variants."""
    for name in REGISTRY.names(kind):
        yield name
        yield from (f"{name}:{options}" for options in VARIANTS.get(name, ()))


def create(kind, spec):
    """The object."""
    return REGISTRY.create(kind, spec)


EVERY = [(kind, spec) for kind in LAWS for spec in specs(kind)]
every_component = pytest.mark.parametrize(("kind", "spec"), EVERY, ids=[f"{kind} {spec}" for kind, spec in EVERY])
every_scorer = pytest.mark.parametrize("spec", list(specs("scorer")))
