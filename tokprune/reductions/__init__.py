"""The built-in reductions: what happens to the tokens that were not kept."""

from tokprune.reductions.mask import Mask
from tokprune.reductions.merge import Merge
from tokprune.reductions.prune import Prune

__all__ = ["Mask", "Merge", "Prune"]
