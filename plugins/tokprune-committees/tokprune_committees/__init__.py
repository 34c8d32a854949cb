"""Proportional committees for tokprune: voting rules that give every group of voters its share of the kept tokens.

Three selectors that see the votes: `phragmen`, `pav` and `equal-shares`. They come in through the entry point; nothing
has to be imported.

>>> import tokprune
>>> tokprune.list_selectors("phrag*")
['phragmen']
"""

from __future__ import annotations

from collections.abc import Mapping

import tokprune
from tokprune_committees.equal_shares import EqualShares
from tokprune_committees.pav import Pav
from tokprune_committees.phragmen import Phragmen

__all__ = ["EqualShares", "Pav", "Phragmen", "register_selectors"]


@tokprune.hookimpl
def register_selectors() -> Mapping[str, type]:
    """The three committee rules."""
    return {"equal-shares": EqualShares, "pav": Pav, "phragmen": Phragmen}
