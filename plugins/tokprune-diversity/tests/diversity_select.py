"""Selectors as a user gets them: by name, through the entry point."""

import torch

import tokprune

FLAVOURS = [
    "divprune",
    "divprune:start=pair",
    "divprune:start=best",
    "divprune:centre=True",
    "dpp",
    "dpp:quality=0",
    "dpp:quality=0,centre=True",
    "dpp:quality=0,similarity=dot",
    "dpp:quality=0.5,form=exponential",
    "dpp:quality=0.9,form=exponential,centre=True,similarity=dot",
]


def create(spec):
    return tokprune.Policy(selector=spec).selector


def kept_mask(spec, tokens, scores, keep):
    """Of one or several images, given as lists or tensors."""
    tokens, scores = torch.as_tensor(tokens), torch.as_tensor(scores)
    if not tokens.is_floating_point():
        tokens = tokens.float()
    if not scores.is_floating_point():
        scores = scores.float()
    return create(spec)(scores, keep, tokens=tokens)


def kept_of(spec, tokens, scores, keep):
    """Of one image: the indices."""
    return (
        kept_mask(spec, torch.as_tensor(tokens)[None], torch.as_tensor(scores)[None], keep)[0].nonzero()[:, 0].tolist()
    )


def order_of(spec, tokens, scores):
    """Of one image, the order in which tokens are chosen: keeping one more adds one more."""
    order = []
    for count in range(1, len(tokens) + 1):
        kept = kept_of(spec, tokens, scores, count)
        assert len(kept) == count
        (new,) = set(kept) - set(order)
        order.append(new)
    return order
