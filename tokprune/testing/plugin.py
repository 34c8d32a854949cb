"""A plugin for pytest: `pytest -p tokprune.testing.plugin --tokprune my-distribution`, beside the tests that are there.

It is not an entry point of pytest: every run of pytest in the environment, whatever it tests, would load torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Add the option."""
    parser.addoption(
        "--tokprune",
        dest="tokprune_distributions",
        action="append",
        metavar="DISTRIBUTION",
        help="check every tokprune component that this distribution registers; may be repeated",
    )


def pytest_configure(config: Any) -> None:
    """Collect the suite too, if a distribution is named."""
    if config.getoption("tokprune_distributions"):
        config.args.append(str(Path(__file__).with_name("suite.py")))
