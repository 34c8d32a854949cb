"""All families, found in the files beside this one: each exports `FAMILIES`, a list."""

import importlib
import pkgutil
from pathlib import Path

_NAMES = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
_MODULES = [importlib.import_module(f"{__package__}.{name}") for name in _NAMES if name not in ("every", "family")]

FAMILIES = [family for module in _MODULES for family in module.FAMILIES]
"""Every family."""
GENERATING = [family for family in FAMILIES if family.generated is not None]
"""Those with a `generate`."""
