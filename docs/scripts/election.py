"""The picture of the concepts page, drawn from what the real functions compute on a small example."""

from __future__ import annotations

import torch

from tokprune.functional import average_ranks, borda_scores, top_k

TOKENS = ("A", "B", "C", "D")
LOGITS = torch.tensor(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [-1.0, -1.0, 3.0, -1.0, -1.0, -1.0],
        [0.5, 0.4, -0.5, 0.6, 0.3, -0.4],
        [-1.5, -1.0, -1.5, -0.5, -1.0, 3.0],
    ]
)
"""Query token x image token. A looks everywhere, B and D each look at one place, C in between."""
KEEP = 2

CELL, TOP, LEFT = 44, 92, 118
GREEN, GREY, INK = "#2e7d32", "#9e9e9e", "#212121"


def render() -> str:
    """The picture as SVG."""
    attention = LOGITS.softmax(dim=-1)  # [query image]: each query token's attention sums to one
    votes = attention.T[None]  # [batch voter token]: each image token looks along the query axis
    points = average_ranks(votes)[0]
    scores = borda_scores(votes)
    kept = top_k(scores, KEEP)[0]
    entropy = -torch.special.xlogy(attention, attention).sum(dim=-1)
    images = LOGITS.shape[1]
    ballots = LEFT + images * CELL + 70
    result = ballots + images * CELL + 40
    width, height = result + 250, TOP + len(TOKENS) * CELL + 62
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="14" role="img" aria-label="Six image tokens vote for four query tokens">',
        f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
        _text(LEFT, 28, "1. attention", weight="bold"),
        _text(LEFT, 48, "each row sums to one", size=12),
        _text(ballots, 28, "2. ballots", weight="bold"),
        _text(ballots, 48, "each column: 3 points to 0", size=12),
        _text(result, 28, "3. scores", weight="bold"),
        _text(result, 48, f"sum of points; the best {KEEP} are kept", size=12),
    ]
    for column in range(images):
        for start in (LEFT, ballots):
            out.append(_text(start + column * CELL + CELL / 2, TOP - 10, f"i{column + 1}", "middle", 12))
    for row, name in enumerate(TOKENS):
        y = TOP + row * CELL
        middle = y + CELL / 2 + 5
        colour = GREEN if kept[row] else INK
        out.append(_text(LEFT - 14, middle, f"query {name}", "end", colour=colour, weight="bold"))
        for column in range(images):
            share, point = attention[row, column].item(), points[column, row].item()
            out.append(_box(LEFT + column * CELL, y, "#1565c0", share))
            out.append(_text(LEFT + (column + 0.5) * CELL, middle, f"{share:.2f}", "middle", 13, _on(share)))
            out.append(_box(ballots + column * CELL, y, "#6a1b9a", point / len(TOKENS)))
            out.append(_text(ballots + (column + 0.5) * CELL, middle, f"{point:g}", "middle", 13, _on(point / 4)))
        score = scores[0, row].item()
        out.append(
            f'<rect x="{result}" y="{y + 8}" width="{score * 7:g}" height="{CELL - 16}" '
            f'fill="{GREEN if kept[row] else GREY}"/>'
        )
        verdict = "kept" if kept[row] else "pruned"
        out.append(_text(result + score * 7 + 8, middle, f"{score:g}  {verdict}", colour=colour, weight="bold"))
        out.append(_text(width - 16, middle, f"{entropy[row].item():.2f}", "end", 13))
    foot = TOP + len(TOKENS) * CELL
    out += [
        _text(width - 16, TOP - 10, "entropy", "end", 12),
        _text(LEFT, foot + 22, "voters: image tokens i1 to i6", size=12),
        _text(ballots, foot + 22, f"each voter hands out {len(TOKENS) * (len(TOKENS) - 1) // 2} points", size=12),
        _text(
            LEFT,
            foot + 46,
            "B and D win one voter each and come last with nearly all others: the rule counts how many "
            "voters prefer a token, not how much.",
            size=13,
        ),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _box(x: float, y: float, colour: str, opacity: float) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" fill="{colour}" fill-opacity="{opacity:.3f}" '
        'stroke="#bdbdbd"/>'
    )


def _on(opacity: float) -> str:
    return "#ffffff" if opacity > 0.55 else INK


def _text(
    x: float, y: float, words: str, anchor: str = "start", size: int = 14, colour: str = INK, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
        f'font-weight="{weight}">{words}</text>'
    )
