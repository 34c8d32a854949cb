"""The built-in aggregators (voting rules): votes of all layers -> one score per token."""

from tokprune.aggregators.borda import Borda
from tokprune.aggregators.copeland import Copeland
from tokprune.aggregators.maximum import Maximum
from tokprune.aggregators.mean import Mean
from tokprune.aggregators.plurality import Plurality
from tokprune.aggregators.total import Total

__all__ = ["Borda", "Copeland", "Maximum", "Mean", "Plurality", "Total"]
