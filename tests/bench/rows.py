"""Rows made by hand, for tests of what is done with rows."""

from tokprune.bench.accuracy import paired_p_value
from tokprune.bench.certificate import Certificate
from tokprune.bench.row import Row

CERTIFICATE = Certificate(
    model="tiny",
    revision="",
    weights="w",
    data="noise",
    questions="q",
    n=8,
    seed=0,
    template="{}",
    max_new_tokens=3,
    device="cpu",
    dtype="float32",
    attention="sdpa",
    tokprune="0",
    torch="2",
    transformers="5",
    python="3",
    batch_size=4,
    threads=1,
    date="today",
    command="test",
)
UNPRUNED = "11111101"


def row(label, outcomes, keep=None, tokens_kept=8.0, positions="compact", **changed):
    policy = None if keep is None else {"scorer": label, "keep": keep, "positions": positions, "selector": "top-k"}
    values = {
        "label": label,
        "keep": keep,
        "positions": None if keep is None else positions,
        "policy": policy,
        "tokens": 8.0,
        "tokens_kept": tokens_kept,
        "length_before": 20.0,
        "length_after": 12.0 + (tokens_kept["query"] if isinstance(tokens_kept, dict) else tokens_kept),
        "outcomes": outcomes,
        "kinds": {"colour": (outcomes[:4].count("1"), 4), "size": (outcomes[4:].count("1"), 4)},
        "p_value": None if label == "unpruned" else paired_p_value(outcomes, UNPRUNED),
        "seconds": 1.5,
        "certificate": CERTIFICATE.to_dict(),
    }
    return Row(**values | changed)


def some_rows():
    return [
        row("unpruned", UNPRUNED),
        row("blind", "00010001"),
        row("l2-norm", "11110001", keep=0.5, tokens_kept=4.0),
        row("l2-norm", "10010001", keep=2, tokens_kept=2.0),
        row("catp|vote", "11111101", keep=0.5, tokens_kept=4.0),
    ]


def image_row(label, outcomes, keep, reduction="prune", after=None, **changed):
    """A row of a policy that cuts image tokens."""
    policy = {"scorer": label, "keep": keep, "positions": "compact", "selector": "top-k"}
    policy |= {"target": "image", "reduction": reduction, "after": after}
    values = {"keep": keep, "policy": policy, "tokens": 64.0, "tokens_kept": 64 * keep, "length_after": 20.0}
    return row(label, outcomes, **values | changed)


def composed_row(outcomes, image_keep, query_keep):
    """A row of two policies that act together."""
    policies = [
        {"scorer": "stride", "keep": image_keep, "target": "image", "reduction": "merge", "after": [1, 2]},
        {"scorer": "first", "keep": query_keep, "target": None, "reduction": "prune", "after": None},
    ]
    return row(
        f"stride target=image keep={image_keep} + first keep={query_keep}",
        outcomes,
        policy=policies,
        tokens={"image": 64.0, "query": 8.0},
        tokens_kept={"image": 64 * image_keep, "query": 8 * query_keep},
    )


def some_policies():
    everything = {"tokens": {"image": 64.0, "query": 8.0}, "tokens_kept": {"image": 64.0, "query": 8.0}}
    return [
        row("unpruned", UNPRUNED, **everything),
        composed_row("11110001", 0.5, 0.25),
        composed_row("10010001", 0.25, 0.5),
    ]
