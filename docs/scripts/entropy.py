"""What scorers elect on the bundled model: how their scores go with the entropy of attention.

python docs/scripts/entropy.py writes docs/results/entropy/
"""

from __future__ import annotations

from pathlib import Path

import torch
from notes import birth_certificate, markdown, write_result
from torch import Tensor

import tokprune
from tokprune.bench.answering import prepare
from tokprune.zoo import load_dataset, load_model

OUT = Path(__file__).parents[1] / "results" / "entropy"
IMAGES, SEED = 200, 0
NEEDS = ("tokens", "cross_attention", "self_attention", "encoder_attention")
SCORERS = ("catp-vote", "catp-weighted", "self-attention", "l2-norm", "distinct")


def correlation(left: Tensor, right: Tensor) -> Tensor:
    """Pearson's, along each row `[image token]` -> `[image]`."""
    left, right = (each.double() - each.double().mean(dim=1, keepdim=True) for each in (left, right))
    return (left * right).sum(dim=1) / (left.norm(dim=1) * right.norm(dim=1))


def main() -> None:
    """Score the query tokens of each image and correlate with the entropy of their cross-attention."""
    model, processor = load_model("blip2-shapes")
    samples = load_dataset("shapes-vqa", split="test", n=IMAGES, seed=SEED)
    signal = tokprune.observe(model, prepare(model, processor, samples), needs=NEEDS)

    def scores(name: str) -> Tensor:
        policy = tokprune.Policy(name)
        return policy.aggregator(policy.scorer(signal))

    entropy = -scores("focus")  # focus scores a token by low entropy, summed over heads and layers
    rows = [
        (name, f"{r.mean():.2f}", f"{r.quantile(0.05):.2f}", f"{r.quantile(0.95):.2f}")
        for name in SCORERS
        for r in [correlation(scores(name), entropy)]
    ]
    head = ("scorer", "correlation with entropy, mean over images", "5% of images below", "95% of images below")
    note = [
        "# What the scorers elect: entropy of attention",
        "",
        "Correlation, over the query tokens of an image, between a scorer's scores and the entropy of the query",
        "token's cross-attention (summed over heads and layers). Near 1: the scorer keeps what looks everywhere.",
        "Near -1: it keeps what looks at something. `focus` would be at -1 by its definition.",
        "",
        *markdown(head, rows),
        "",
        "So `catp-vote` elects, by and large, the query tokens that look everywhere. That is not the whole story:",
        "`catp-weighted` does so less and answers no better, and `focus`, which does the opposite, does not clearly",
        "beat `random` at 1/2 and 1/4.",
        "",
        birth_certificate(model, samples, SEED, "entropy.py"),
    ]
    write_result(OUT, "correlation.csv", [head, *rows], note)


if __name__ == "__main__":
    with torch.no_grad():
        main()
