"""Pure tensor functions: the reference that every scorer, aggregator and kernel is tested against.

No state, no model, no registry. Each function gives its formula, shapes, source and an example.
"""

from tokprune.functional.attention import attention_probabilities, received_attention
from tokprune.functional.borda import average_ranks, borda_scores, catp_scores
from tokprune.functional.majority import copeland_scores, pairwise_margins, plurality_scores
from tokprune.functional.merging import group_sizes, merge_tokens
from tokprune.functional.selection import kept_index, top_k, top_p
from tokprune.functional.sums import exact_sum

__all__ = [
    "attention_probabilities",
    "average_ranks",
    "borda_scores",
    "catp_scores",
    "copeland_scores",
    "exact_sum",
    "group_sizes",
    "kept_index",
    "merge_tokens",
    "pairwise_margins",
    "plurality_scores",
    "received_attention",
    "top_k",
    "top_p",
]
