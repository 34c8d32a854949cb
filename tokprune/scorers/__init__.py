"""The built-in scorers: one file each, registered through the same hooks as any plugin's."""

from tokprune.scorers.catp_vote import CatpVote
from tokprune.scorers.catp_weighted import CatpWeighted
from tokprune.scorers.distinct import Distinct
from tokprune.scorers.first import First
from tokprune.scorers.focus import Focus
from tokprune.scorers.l2_norm import L2Norm
from tokprune.scorers.random import Random
from tokprune.scorers.received_attention import ReceivedAttention
from tokprune.scorers.self_attention import SelfAttention
from tokprune.scorers.stride import Stride
from tokprune.scorers.text_attention import TextAttention

__all__ = [
    "CatpVote",
    "CatpWeighted",
    "Distinct",
    "First",
    "Focus",
    "L2Norm",
    "Random",
    "ReceivedAttention",
    "SelfAttention",
    "Stride",
    "TextAttention",
]
