"""Accuracy beside top-k on the same questions, with exact McNemar tests, from the rows that `tokprune bench` wrote.

python plugins/tokprune-committees/results/against_top_k.py prints the tables of results/README.md.
"""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

HERE = Path(__file__).parent


def mcnemar(ours: str, theirs: str) -> float:
    """Two-sided exact p: how likely are wins and losses as unequal, were each question a coin toss."""
    wins = sum(a > b for a, b in zip(ours, theirs, strict=True))
    losses = sum(a < b for a, b in zip(ours, theirs, strict=True))
    tail = sum(comb(wins + losses, i) for i in range(min(wins, losses) + 1)) / 2 ** (wins + losses)
    return min(1.0, 2 * tail)


def read(folder: str) -> dict[str, dict[str, object]]:
    """Rows by label."""
    lines = (HERE / folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["label"]: row for row in map(json.loads, lines)}


def cell(row: dict[str, object], rival: dict[str, object]) -> str:
    """Accuracy and, in brackets, what speaks against luck."""
    p = mcnemar(str(row["outcomes"]), str(rival["outcomes"]))
    return f"{100 * float(str(row['accuracy'])):.1f} (p {p:.2g})"


def main() -> None:
    """Print one table per folder."""
    for folder, scorers in (
        ("query", ("catp-vote", "self-attention")),
        ("image", ("received-attention target=image",)),
    ):
        rows = read(folder)
        print("| scorer | selector | 1/2 | 1/4 | 1/8 |\n| --- | --- | ---: | ---: | ---: |")
        for scorer in scorers:
            for selector in ("top-k", "phragmen", "pav", "equal-shares"):
                cells = []
                for keep in ("1/2", "1/4", "1/8"):
                    row, rival = (rows[f"{scorer} selector={name} keep={keep}"] for name in (selector, "top-k"))
                    cells.append(f"{100 * float(str(row['accuracy'])):.1f}" if row is rival else cell(row, rival))
                print(f"| `{scorer}` | `{selector}` | {' | '.join(cells)} |")
        print()
    rows, usual = read("ballots"), read("query") | read("image")
    print("| scorer | selector | above-mean | approve=0.5 | approve=0.125 |\n| --- | --- | ---: | ---: | ---: |")
    for scorer in ("catp-vote", "self-attention", "received-attention target=image"):
        for selector in ("phragmen", "pav", "equal-shares"):
            rival = usual[f"{scorer} selector={selector} keep=1/4"]
            cells = [cell(rows[f"{scorer} selector={selector}:approve={a} keep=1/4"], rival) for a in ("0.5", "0.125")]
            print(f"| `{scorer}` | `{selector}` | {100 * float(str(rival['accuracy'])):.1f} | {' | '.join(cells)} |")
    print()
    for scorer in ("catp-vote", "self-attention", "received-attention target=image"):
        rival = usual[f"{scorer} selector=equal-shares keep=1/4"]
        row = rows[f"{scorer} selector=equal-shares:completion=scores keep=1/4"]
        print(f"completion=scores, {scorer}: {cell(row, rival)}, phragmen: {100 * float(str(rival['accuracy'])):.1f}")


if __name__ == "__main__":
    main()
