"""Rows of speed made by hand, for tests of what is done with rows."""

from tokprune.bench.speed.certificate import SpeedCertificate
from tokprune.bench.speed.row import SpeedRow

CERTIFICATE = SpeedCertificate(
    model="tiny",
    revision="",
    weights="random",
    seed=0,
    prompt_tokens=8,
    max_new_tokens=3,
    beams=1,
    repeats=3,
    warm_up=1,
    clock="wall clock",
    device="cpu (x86_64)",
    processor="some, 2 cores",
    dtype="float32",
    attention="sdpa",
    tokprune="0",
    torch="2",
    transformers="5",
    triton="",
    python="3",
    threads=1,
    date="today",
    command="test",
)
POLICY = {"scorer": "l2-norm", "keep": 3, "target": None}
TARGETS = {"query": {"tokens": 8, "kept": 3.0, "length_before": 16, "length_after": 11, "backend": "reference"}}


def block(batch_size=1, label="l2|norm keep=3", unpruned=12.0, oracle=7.5, pruned=10.0, peaks=(2, 2, 2), **changed):
    """Three rows: milliseconds of each variant, as they are and 1% off to both sides; peaks in MiB."""
    rows = []
    for variant, milliseconds, peak in zip(
        ("unpruned", "oracle", "pruned"), (unpruned, oracle, pruned), peaks, strict=True
    ):
        seconds = [milliseconds / 1e3 * factor for factor in (0.99, 1.0, 1.01)]
        values = {
            "label": label,
            "variant": variant,
            "batch_size": batch_size,
            "policies": [POLICY],
            "targets": TARGETS,
            "seconds": seconds,
            "stages": {
                "encoder": [0.001, 0.002, 0.003],
                "connector": [0.0005],
                "prefill": [0.004],
                "decode": [0.006],
            },
            "steps": 2,
            "gain": [unpruned / milliseconds * factor for factor in (0.98, 1.0, 1.02)],
            "overhead": [pruned / oracle * factor for factor in (0.98, 1.0, 1.02)] if variant == "pruned" else [],
            "flops": {"encoder": 10**9, "connector": 10**7, "prefill": 2 * 10**9, "decode": 10**8},
            "peak_memory": None if peak is None else peak * 2**20,
            "weights_memory": 5 * 2**20,
            "certificate": CERTIFICATE.to_dict(),
        }
        rows.append(SpeedRow(**values | changed))
    return rows


def alone(batch_size=1):
    """One row: the unpruned model, with nothing to prune."""
    return block(batch_size, label="none", policies=[], targets={}, steps=0)[:1]
