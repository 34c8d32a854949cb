"""VisionZip and the attention of [CLS] in plain Python, one token at a time: what the tests compare with."""

import math
from decimal import ROUND_HALF_UP, Decimal

import torch
from torch.overrides import TorchFunctionMode

import tokprune


def made(kind, spec):
    """A component by name, as a user gets it: through the entry point."""
    scorer = {} if kind == "scorer" else {"scorer": "cls-attention"}
    return getattr(tokprune.Policy(**(scorer | {kind: spec})), kind)


def attention_votes(batch=2, heads=2, tokens=12, dim=4, protected=1, seed=0, layer=0):
    """One layer of an encoder's attention; logits spread widely, so that rounding decides nothing."""
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(batch, heads, protected + tokens, dim, generator=generator) * 1.5 for _ in range(2))
    return tokprune.AttentionVotes(query, key, dim**-0.5, candidates="key", protected=protected, layer=layer)


def scores_by_hand(votes, image):
    """What [CLS] gives every image token, summed over heads; what all tokens give where there is no [CLS]."""
    query, key = votes.query[image].tolist(), votes.key[image].tolist()
    scores = [0.0] * votes.shape[2]
    for queries, keys in zip(query, key, strict=True):
        for who in queries[:1] if votes.protected else queries:
            logits = [votes.scale * sum(a * b for a, b in zip(who, other, strict=True)) for other in keys]
            highest = max(logits)
            weights = [math.exp(logit - highest) for logit in logits]
            for place, weight in enumerate(weights[votes.protected :]):
                scores[place] += weight / sum(weights)
    return scores


def count_by_hand(kept, share):
    """How many of `kept` tokens are contextual."""
    nearest = int((Decimal(str(share)) * kept).to_integral_value(ROUND_HALF_UP))
    return min(max(nearest, 1), max(kept - 1, 1))


def select_by_hand(scores, kept, share, spacing="even"):
    """Dominant and contextual tokens, as lists of indices."""
    contextual = count_by_hand(kept, share)
    best_first = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    if kept == 1:
        return best_first[:1], []
    dominant = best_first[: kept - contextual]
    rest = [token for token in range(len(scores)) if token not in dominant]
    step = len(rest) // contextual
    if spacing == "even":
        return sorted(dominant), [rest[i * len(rest) // contextual] for i in range(contextual)]
    return sorted(dominant), [rest[i * step] for i in range(contextual)]


def fold_by_hand(votes, image, tokens, dominant, contextual, sizes=None, fold="mean"):
    """Every kept token and its size, as `index -> (vector, size)`."""
    keys = torch.stack(list(votes.key[image]))[:, votes.protected :].double().mean(dim=0).tolist()
    values = tokens[image].double().tolist()
    sizes = [1.0] * len(values) if sizes is None else sizes[image].tolist()

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(keys[a], keys[b], strict=True))
        return dot / math.sqrt(sum(x * x for x in keys[a]) * sum(y * y for y in keys[b]))

    members = {token: [] for token in contextual}
    for token in range(len(values)):
        if token not in dominant and token not in contextual:
            members[max(contextual, key=lambda target, token=token: (cosine(token, target), -target))].append(token)
    found = {token: (values[token], sizes[token]) for token in dominant}
    for target, folded in members.items():
        weight = sum(sizes[token] for token in folded)
        vector = []
        for d in range(len(values[0])):
            added = sum(sizes[token] * values[token][d] for token in folded)
            own = values[target][d]
            if fold == "mean":
                vector.append((sizes[target] * own + added) / (sizes[target] + weight))
            else:
                vector.append(own + (added / weight if folded else 0.0))
        found[target] = (vector, sizes[target] + weight)
    return found


def mask_of(rows, tokens):
    """Indices per image as a bool mask `[batch token]`."""
    mask = torch.zeros(len(rows), tokens, dtype=torch.bool)
    for row, indices in enumerate(rows):
        mask[row, list(indices)] = True
    return mask


class Devices(TorchFunctionMode):
    """Notes on which devices the tensors lie that are made in its block."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.seen.add(result.device.type)
        return result
