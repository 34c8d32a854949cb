"""The data set as a sequence: lazy, repeatable, and its splits apart."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprune import errors
from tokprune.samples import Sample
from tokprune.zoo import list_datasets, load_dataset
from tokprune.zoo.scenes import SPLITS, split_of

splits = st.sampled_from(SPLITS)
seeds = st.integers(0, 1000)


def same(a: Sample, b: Sample) -> bool:
    """Whether two samples agree in everything, down to the pixel."""
    fields = ("id", "question", "answers", "kind")
    return all(a[f] == b[f] for f in fields) and np.array_equal(np.asarray(a.image), np.asarray(b.image))


@settings(max_examples=20, deadline=None)
@given(splits, seeds, st.integers(1, 30), st.data())
def test_a_sample_depends_on_split_seed_and_place_alone(split: str, seed: int, n: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, n - 1))
    assert same(
        load_dataset("shapes-vqa", split=split, n=n, seed=seed)[index],
        load_dataset("shapes-vqa", split=split, n=100, seed=seed)[index],
    )


@pytest.mark.slow
def test_the_same_in_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where strings hash differently, as they do in every new process: no order may come from a set."""
    code = """
import hashlib
from tokprune.zoo import load_dataset
data = load_dataset(n=140)
text = repr([data.scene(i) for i in range(140)]).encode() + b"".join(s.image.tobytes() for s in data[:8])
print(hashlib.sha256(text).hexdigest())
"""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    exec(code, {})
    assert other.stdout == capsys.readouterr().out


@settings(max_examples=50, deadline=None)
@given(splits, seeds, st.integers(0, 10_000))
def test_splits_never_meet(split: str, seed: int, index: int) -> None:
    scene, _, _ = load_dataset("shapes-vqa", split=split, n=10_001, seed=seed).scene(index)
    assert split_of(scene) == split


def test_splits_and_seeds_give_different_samples() -> None:
    firsts = [load_dataset(split=split, n=1, seed=seed)[0] for split in SPLITS for seed in (0, 1)]
    assert len({first.id for first in firsts}) == len({first.image.tobytes() for first in firsts}) == len(firsts)


def test_it_is_a_sequence() -> None:
    data = load_dataset("shapes-vqa", split="test", n=20)
    assert len(data) == 20
    assert len(data[5:9]) == 4
    assert same(data[5:9][1], data[6])
    assert same(data[-1], data[19])
    assert [sample.id for sample in data[::7]] == [data[i].id for i in (0, 7, 14)]
    assert len({sample.id for sample in data}) == 20
    with pytest.raises(IndexError):
        data[20]
    assert repr(data) == "ShapesVqa(split='test', n=20, seed=0)"


def test_a_sample() -> None:
    sample = load_dataset(n=1)[0]
    assert sample.image.size == (64, 64)
    assert sample.image.mode == "RGB"
    assert len(sample.answers) == 1


def test_names_and_errors() -> None:
    assert list_datasets() == ["shapes-vqa"]
    with pytest.raises(errors.UnknownNameError, match="Did you mean 'shapes-vqa'"):
        load_dataset("shape-vqa")
    with pytest.raises(errors.UnknownNameError, match="train, calibration, test"):
        load_dataset(split="validation")
    for n in (0, -1, True, 2.5, "10"):
        with pytest.raises(errors.InvalidValueError, match="at least 1"):
            load_dataset(n=n)  # type: ignore[arg-type]
