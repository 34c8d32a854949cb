"""The conformance kit: checks and hypothesis strategies for authors of components, and a tiny model of every family.

A check takes an object and raises an `AssertionError` that names the law it breaks and shows the smallest example.

>>> from tokprune.scorers import CatpVote
>>> check_scorer(CatpVote(layers="first"))

In the tests of a plugin, one line checks everything that its distribution registers:
`test_conformance = conformance_test("my-distribution")`. Without a test file,
`pytest --pyargs tokprune.testing.suite` does it for every installed plugin, and
`pytest -p tokprune.testing.plugin --tokprune my-distribution` for one.

`tiny("llava")` makes a tiny random LLaVA and the arguments of one forward, to try things on.

The strategies (`ballots`, `votes`, `voter_weights`, `scores`, `keeps`, `signals`, `tiny_models`) need hypothesis; the
checks do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokprune.testing.adapters import check_adapter
from tokprune.testing.aggregators import check_aggregator
from tokprune.testing.distribution import check_distribution, conformance_test
from tokprune.testing.kinds import check_component
from tokprune.testing.models import tiny
from tokprune.testing.reductions import check_reduction
from tokprune.testing.scorers import check_scorer
from tokprune.testing.selectors import check_selector

if TYPE_CHECKING:
    from tokprune.testing.strategies import ballots, keeps, scores, signals, tiny_models, voter_weights, votes

__all__ = [
    "ballots",
    "check_adapter",
    "check_aggregator",
    "check_component",
    "check_distribution",
    "check_reduction",
    "check_scorer",
    "check_selector",
    "conformance_test",
    "keeps",
    "scores",
    "signals",
    "tiny",
    "tiny_models",
    "voter_weights",
    "votes",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the checks need no hypothesis.
    if name not in ("ballots", "keeps", "scores", "signals", "tiny_models", "voter_weights", "votes"):
        raise AttributeError(f"module 'tokprune.testing' has no attribute {name!r}")
    try:
        from tokprune.testing import strategies
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ImportError(
            f"tokprune.testing.{name} is a hypothesis strategy: pip install hypothesis (or 'tokprune[test]')"
        ) from error
    return getattr(strategies, name)
