"""The two methods by the book, one image at a time, in exact or 50-digit arithmetic: slow, plain, without torch."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations

GRID = 2**24
"""Differences below 1 / GRID are documented to count as ties."""


def on_grid(number):
    """Rounded to the grid, exactly; `round` of a Fraction takes the even one of two neighbours."""
    return Fraction(round(Fraction(number) * GRID), GRID)


def centred(tokens):
    """Minus the mean, exactly."""
    mean = [Fraction(sum(map(Fraction, column)), len(tokens)) for column in zip(*tokens, strict=True)]
    return [[Fraction(x) - m for x, m in zip(token, mean, strict=True)] for token in tokens]


def dot(a, b):
    """Inner product, exactly."""
    return sum(Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True))


def cosine(a, b):
    """Of two vectors that are not zero, to 50 digits."""
    with localcontext() as context:
        context.prec = 50
        squares = dot(a, a) * dot(b, b)
        root = (Decimal(squares.numerator) / Decimal(squares.denominator)).sqrt()
        product = dot(a, b)
        return Decimal(product.numerator) / Decimal(product.denominator) / root


def distance(a, b):
    """Half the squared length between unit vectors; a zero vector stands in the centre of the sphere."""
    zeros = (not any(a)) + (not any(b))
    if zeros:
        return Fraction(1, 2) if zeros == 1 else Fraction(0)
    return on_grid(Fraction(1 - cosine(a, b)))


def best(candidates, worth, scores):
    """The greatest worth, then the higher score, then the lower index."""
    return max(candidates, key=lambda i: (worth(i), scores[i], -i))


def divprune(tokens, scores, count, start="isolated", centre=False):
    """Indices of kept tokens, in the order they are chosen."""
    if centre:
        tokens = centred(tokens)
    everyone = range(len(tokens))
    table = [[distance(a, b) for b in tokens] for a in tokens]
    firsts = {
        "isolated": lambda i: min((table[i][j] for j in everyone if j != i), default=0),
        "pair": lambda i: max((table[i][j] for j in everyone if j != i), default=0),
        "best": lambda i: 0,
    }
    kept = [best(everyone, firsts[start], scores)]
    while len(kept) < count:
        rest = [i for i in everyone if i not in kept]
        kept.append(best(rest, lambda i: min(table[i][j] for j in kept), scores))
    return kept


def spread(table, kept):
    """The least distance within a set."""
    return min(table[i][j] for i, j in combinations(kept, 2))


def dpp(tokens, scores, count, quality=0.5, centre=False, similarity="cosine", form="linear"):
    """Indices of kept tokens, in the order they are chosen: Gram-Schmidt in fractions."""
    if centre:
        tokens = centred(tokens)
    tokens = [[Fraction(x) for x in token] for token in tokens]
    longest = max(dot(token, token) for token in tokens)
    lengths = [dot(token, token) if similarity == "cosine" else longest for token in tokens]
    low, high = min(scores), max(scores)
    relevance = [(s - low) / (high - low) if high > low else 0.0 for s in scores]
    weight = quality / (1 - quality)
    logs = [weight * r if form == "exponential" else 2 * weight * math.log(max(r, 1e-6)) for r in relevance]
    residuals, kept = tokens, []
    while len(kept) < count:
        left = [
            on_grid(dot(r, r) / length) if length else Fraction(0) for r, length in zip(residuals, lengths, strict=True)
        ]
        rest = [i for i in range(len(tokens)) if i not in kept]
        gains = left
        if quality > 0:
            gains = [(v > 0, math.log(v) + log if v > 0 else 0) for v, log in zip(left, logs, strict=True)]
        chosen = best(rest, gains.__getitem__, scores)
        if left[chosen] > 0:
            axis = residuals[chosen]
            square = dot(axis, axis)
            residuals = [[x - dot(r, axis) / square * y for x, y in zip(r, axis, strict=True)] for r in residuals]
        kept.append(chosen)
    return kept
