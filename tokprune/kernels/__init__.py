"""From the queries and keys of one attention layer straight to points, without keeping its probabilities.

Two functions, each with two backends: `reference` (torch, everywhere) and `triton` (CUDA devices). Both give what
`tokprune.functional` gives on the materialised probabilities.
"""

from tokprune.kernels.attention import attention_points, attention_total
from tokprune.kernels.backends import BACKENDS, Backend, check_backend, record_backends

__all__ = ["BACKENDS", "Backend", "attention_points", "attention_total", "check_backend", "record_backends"]
