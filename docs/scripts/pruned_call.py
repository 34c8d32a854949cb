"""The picture of the page on the engine, drawn from what a real policy and the real merging compute on six tokens."""

from __future__ import annotations

import torch

from tokprune import Policy, Signal

TOKENS = torch.tensor([[[3.0, 0.2], [0.2, 2.5], [0.8, 0.1], [0.1, 0.9], [0.3, 1.2], [0.2, 1.0]]])
"""Six image tokens of two numbers each."""
KEEP, FOLLOWED, TEXT = 2, 4, 2
"""How many stay; the token that the page follows, counted from 0; how many text tokens come after the image."""

WIDTH, ROW, LEFT, BOX = 840, 92, 250, 52
COLOURS = ("#1565c0", "#ef6c00")
GREY, INK, PAPER = "#9e9e9e", "#212121", "#ffffff"


def render() -> str:
    """The picture as SVG."""
    policy = Policy("l2-norm", keep=KEEP, reduction="merge")
    choice = policy.choose(Signal(tokens=TOKENS))
    merged, sizes = policy.reduction(TOKENS, choice.kept)
    places = choice.kept[0].nonzero().flatten().tolist()
    group = _groups(choice.kept)
    count, height = TOKENS.shape[1], 5 * ROW + 84
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="14" role="img" aria-label="An image token from the tap to proportional attention">',
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="{PAPER}"/>',
    ]
    steps = (
        ("1. observe", "the tap sees the layer's tokens"),
        ("2. choose", "scores; the best two are kept"),
        ("3. reduce", "each group becomes its mean"),
        ("4. carry", "a shorter sequence, with sizes"),
        ("5. weigh", "log(size) is added to the logits"),
    )
    for row, (title, words) in enumerate(steps):
        out += [_text(24, _y(row) + 22, title, weight="bold"), _text(24, _y(row) + 42, words, size=12)]
    for index in range(count + TEXT):
        name = f"i{index + 1}" if index < count else f"t{index - count + 1}"
        out.append(_box(_x(index), _y(0), name, GREY if index >= count else COLOURS[group[index]], index == FOLLOWED))
    for index in range(count):
        score, kept = choice.scores[0, index].item(), index in places
        colour = COLOURS[group[index]] if kept else GREY
        out.append(_text(_x(index) + BOX / 2, _y(1) + 22, f"{score:.2f}", "middle", colour=colour, weight="bold"))
        out.append(_text(_x(index) + BOX / 2, _y(1) + 42, "kept" if kept else "merged", "middle", 12, colour))
        ends = _x(places[group[index]]) + BOX / 2
        out.append(
            f'<line x1="{_x(index) + BOX / 2:g}" y1="{_y(1) + 52}" x2="{ends:g}" y2="{_y(2) - 6}" '
            f'stroke="{COLOURS[group[index]]}" stroke-width="{4 if index == FOLLOWED else 1.5}"/>'
        )
    for number, place in enumerate(places):
        mean = ", ".join(f"{value:.2f}" for value in merged[0, place].tolist())
        out.append(_box(_x(place), _y(2), f"i{place + 1}", COLOURS[number], number == group[FOLLOWED]))
        out.append(_text(_x(count) + 8, _y(2) + 16 + 22 * number, f"i{place + 1}: mean ({mean})", size=13))
    stands = [*sizes[0, places].tolist(), *[1.0] * TEXT]
    plain = 1 / len(stands)
    for index, size in enumerate(stands):
        name = f"i{places[index] + 1}" if index < len(places) else f"t{index - len(places) + 1}"
        colour = COLOURS[index] if index < len(places) else GREY
        out.append(_box(_x(index), _y(3), name, colour, index == group[FOLLOWED]))
        out.append(_text(_x(index) + BOX / 2, _y(3) + BOX + 16, f"size {size:g}", "middle", 12))
        share = size / sum(stands)
        out.append(_text(_x(index) + BOX / 2, _y(4) + 18, f"+{torch.tensor(size).log():.2f}", "middle", weight="bold"))
        out.append(_text(_x(index) + BOX / 2, _y(4) + 38, f"{100 * share:.3g}" + "%", "middle", 13, colour, "bold"))
        out.append(_text(_x(index) + BOX / 2, _y(4) + 56, f"not {plain:.0%}", "middle", 11))
    out.append(_text(_x(len(stands)) + 8, _y(4) + 38, "of the attention, where all logits are equal", size=12))
    foot = (
        f"Image token i{FOLLOWED + 1} (framed) goes into the group of i{places[group[FOLLOWED]] + 1}.",
        f"Six image tokens had {count} of {count + TEXT} shares of the attention; now two tokens have them.",
    )
    out += [_text(24, height - 36 + 20 * line, words, size=13) for line, words in enumerate(foot)]
    return "\n".join([*out, "</svg>"]) + "\n"


def _groups(kept: torch.Tensor) -> list[int]:
    """The number of the kept token that each token is most like, as `merge` finds it."""
    unit = torch.nn.functional.normalize(TOKENS[0], dim=-1)
    likeness = unit @ unit[kept[0]].T
    return likeness.argmax(dim=-1).tolist()


def _x(index: int) -> float:
    return LEFT + index * (BOX + 12)


def _y(row: int) -> int:
    return 24 + row * ROW


def _box(x: float, y: float, name: str, colour: str, framed: bool) -> str:
    frame = f'stroke="{INK}" stroke-width="4"' if framed else 'stroke="#bdbdbd"'
    box = f'<rect x="{x:g}" y="{y:g}" width="{BOX}" height="{BOX}" rx="6" fill="{colour}" {frame}/>'
    return box + "\n" + _text(x + BOX / 2, y + BOX / 2 + 5, name, "middle", 14, PAPER, "bold")


def _text(
    x: float, y: float, words: str, anchor: str = "start", size: int = 14, colour: str = INK, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
        f'font-weight="{weight}">{words}</text>'
    )
