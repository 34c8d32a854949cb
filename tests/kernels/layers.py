"""Made-up attention layers, and how they are counted by hand."""

import numpy as np
import torch
from scipy.stats import rankdata


def draw(*shape, seed=0, dtype=torch.float32):
    """Queries or keys `[batch head token dim]`, laid out as a projection lays them out: not contiguous."""
    batch, heads, tokens, dim = shape
    made = torch.randn(batch, tokens, heads, dim, generator=torch.Generator().manual_seed(seed))
    return made.transpose(1, 2).to(dtype)


def layer(batch=2, heads=3, queries=5, keys=7, dim=8, dtype=torch.float32):
    """Queries and keys of one layer."""
    return draw(batch, heads, queries, dim, dtype=dtype), draw(batch, heads, keys, dim, seed=1, dtype=dtype)


def voters(query, key, candidates):
    """Shape of voter weights."""
    others = key if candidates == "query" else query
    return max(len(query), len(key)), query.shape[1] * others.shape[2]


def by_hand(query, key, scale, mask=None, *, candidates, weights=None, protected=0):
    """Points and total, one ballot at a time in numpy and scipy."""
    batch, heads = max(len(query), len(key)), query.shape[1]
    logits = np.einsum(
        "bhqd,bhkd->bhqk",
        query.double().expand(batch, -1, -1, -1).numpy(),
        key.double().expand(batch, -1, -1, -1).repeat_interleave(heads // key.shape[1], dim=1).numpy(),
    )
    logits = logits * scale
    if mask is not None:
        hides = np.where(mask.numpy(), 0.0, -np.inf) if mask.dtype == torch.bool else mask.double().numpy()
        logits = logits + hides
    powers = np.exp(logits - np.maximum(logits.max(axis=-1, keepdims=True), -1e300))
    attention = powers / np.maximum(powers.sum(axis=-1, keepdims=True), 1e-300)
    votes = attention.swapaxes(2, 3) if candidates == "query" else attention
    points = np.zeros((batch, votes.shape[3] - protected))
    total = np.zeros_like(points)
    for image, head, voter in np.ndindex(*votes.shape[:3]):
        ballot = votes[image, head, voter, protected:]
        weight = 1.0 if weights is None else weights[image, head * votes.shape[2] + voter].item()
        points[image] += weight * (rankdata(ballot.astype(np.float32)) - 1)
        total[image] += weight * ballot
    return torch.tensor(points).float(), torch.tensor(total).float()
