"""A new distribution with one component in it, complete: what `tokprune new` writes.

>>> new_distribution("scorer", "my-scorer").names.distribution
'tokprune-my-scorer'
"""

from tokprune.scaffold.distribution import Distribution, new_distribution
from tokprune.scaffold.names import Names
from tokprune.scaffold.steps import next_steps

__all__ = ["Distribution", "Names", "new_distribution", "next_steps"]
