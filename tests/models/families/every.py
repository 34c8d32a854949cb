"""All families, found in the files beside this one: each exports `FAMILIES`, a list."""

import importlib
import pkgutil
from pathlib import Path

import pytest

_NAMES = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
_MODULES = [importlib.import_module(f"{__package__}.{name}") for name in _NAMES if name not in ("every", "family")]

ONE_OF_EACH_KIND = [
    family
    for module in _MODULES
    for family in {(each.target, bool(each.options)): each for each in reversed(module.FAMILIES)}.values()
]
"""The first of each file, and of each place in it where tokens leave."""
FAMILIES = [family for module in _MODULES for family in module.FAMILIES]
"""Every family."""
SLOW_UNLESS_FIRST = [
    pytest.param(family, marks=[] if family in ONE_OF_EACH_KIND else [pytest.mark.slow]) for family in FAMILIES
]
"""Every family, for a test that is slow and says much the same of families of one kind."""
GENERATING = [family for family in FAMILIES if family.generated is not None]
"""Those with a `generate`."""
