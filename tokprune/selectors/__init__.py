"""The built-in selectors: scores and keep -> kept tokens."""

from tokprune.selectors.top_k import TopK
from tokprune.selectors.top_p import TopP

__all__ = ["TopK", "TopP"]
