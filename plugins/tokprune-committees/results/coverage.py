"""Do committees cover the image more evenly? Which image tokens stay, and which voters are left with nothing.

python plugins/tokprune-committees/results/coverage.py prints both tables of results/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import tokprune
from tokprune import Policy, Signal, Votes
from tokprune.zoo import PROMPT_TEMPLATE, load_dataset, load_model

IMAGES, SEED, BATCH = 350, 0, 50
SELECTORS = ("top-k", "phragmen", "pav", "equal-shares")
KEEPS = (0.5, 0.25, 0.125)


def signals(model: Any, processor: Any, samples: Any, need: str, target: str) -> Iterator[tuple[int, Signal]]:
    """What scorers see, some images at a time."""
    for start in range(0, len(samples), BATCH):
        some = [samples[i] for i in range(start, min(len(samples), start + BATCH))]
        texts = [PROMPT_TEMPLATE.format(sample.question) for sample in some]
        inputs = processor(images=[s.image for s in some], text=texts, return_tensors="pt", padding=True)
        yield start, tokprune.observe(model, inputs, needs=(need,), target=target)


def choose(policy: Policy, signal: Signal) -> tuple[Tensor, list[Votes]]:
    """Kept tokens, and the votes they were chosen by."""
    votes = list(policy.scorer(signal))
    wanted = {"votes": votes} if "votes" in getattr(policy.selector, "wants", ()) else {}
    return policy.selector(policy.aggregator(votes), policy.keep, **wanted), votes


def left_out(kept: Tensor, votes: list[Votes]) -> Tensor:
    """Share of the voters of whose tokens above their mean none is kept `[batch]`."""
    values = torch.cat([layer.values for layer in votes], dim=1).double()
    ballots = values > values.mean(dim=2, keepdim=True)
    return ~(ballots & kept[:, None]).any(dim=2)


def around_objects(scene: Any, size: int, side: int) -> Tensor:
    """Image tokens whose middle lies in the box around each object, bool `[object token]`."""
    middles = (torch.arange(side) + 0.5) * (size // side)
    boxes = []
    for each in scene:
        rows, columns = ((middles - centre).abs() <= each.radius + 0.5 for centre in (each.y + 0.5, each.x + 0.5))
        boxes.append((rows[:, None] & columns[None, :]).flatten())
    return torch.stack(boxes)


def in_the_image(kept: Tensor, scenes: list[Any], size: int) -> dict[str, list[float]]:
    """Where the kept image tokens of a batch stand: one number per image and column of the table."""
    side = int(kept.shape[1] ** 0.5)
    map_ = kept.view(-1, side, side)
    half = side // 2
    quadrants = torch.stack(
        [
            map_[:, r, c].flatten(1).sum(1)
            for r in (slice(half), slice(half, None))
            for c in (slice(half), slice(half, None))
        ]
    )
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
    away = torch.cdist(places, places)
    nearest = away.expand(len(kept), -1, -1).masked_fill(~kept[:, None], torch.inf).amin(dim=2)
    objects = [around_objects(scene, size, side) for scene in scenes]
    seen = [float((boxes & mask).any(dim=1).double().mean()) for boxes, mask in zip(objects, kept, strict=True)]
    return {
        "quadrants with a kept token, of 4": (quadrants > 0).sum(0).tolist(),
        "kept in the emptiest quadrant": quadrants.amin(0).tolist(),
        "mean way to a kept token": nearest.mean(1).tolist(),
        "objects with a kept token, %": [100 * share for share in seen],
    }


def table(rows: dict[tuple[str, ...], dict[str, list[float]]], head: tuple[str, ...]) -> str:
    """Means, as Markdown."""
    columns = list(next(iter(rows.values())))
    lines = [[*head, *columns], ["---"] * len(head) + ["---:"] * len(columns)]
    for name, values in rows.items():
        lines.append([*name, *(f"{sum(values[column]) / len(values[column]):.2f}" for column in columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Observe each image once, hold every election on it, print the means."""
    model, processor = load_model("blip2-shapes")
    samples: Any = load_dataset("shapes-vqa", split="test", n=IMAGES, seed=SEED)
    size = model.config.vision_config.image_size
    rows: dict[tuple[str, ...], dict[str, list[float]]] = {}

    def note(name: tuple[str, ...], values: dict[str, list[float]]) -> None:
        into = rows.setdefault(name, {})
        for column, numbers in values.items():
            into.setdefault(column, []).extend(numbers)

    print(f"Image tokens, received-attention, {IMAGES} images:\n")
    for start, signal in signals(model, processor, samples, "encoder_attention", "image"):
        scenes = [samples.scene(start + i)[0] for i in range(signal.batch)]
        for keep in KEEPS:
            for selector in SELECTORS:
                kept, votes = choose(Policy("received-attention", keep, selector=selector), signal)
                silent = {"voters left out, %": (100 * left_out(kept, votes).double().mean(1)).tolist()}
                note((selector, f"{keep:g}"), in_the_image(kept, scenes, size) | silent)
    print(table(rows, ("selector", "keep")))

    for scorer, need in (("catp-vote", "cross_attention"), ("self-attention", "self_attention")):
        rows.clear()
        print(f"\nQuery tokens, {scorer}, {IMAGES} images:\n")
        for _, signal in signals(model, processor, samples, need, "query"):
            for keep in KEEPS:
                for selector in SELECTORS:
                    kept, votes = choose(Policy(scorer, keep, selector=selector), signal)
                    silent = left_out(kept, votes).double()
                    note((selector, f"{keep:g}"), {"voters left out, %": (100 * silent.mean(1)).tolist()})
        print(table(rows, ("selector", "keep")))


if __name__ == "__main__":
    with torch.no_grad():
        main()
