"""Measures what needs a GPU, within a few minutes: `python docs/scripts/measure_gpu.py --out DIR --minutes 9`.

The most important comes first. Each result is on the disk at once, and a step for which no time is left is skipped and
said to be skipped; run again with the same --out, only what is missing is measured. Needs no network and no trained
weights, and tokprune need not be installed.

The models whose language model reads every image token, where pruning gains most, are measured by
`--model llava-1.5-7b qwen2.5-vl-7b llama-3.2-11b-vision`.

Without a GPU the way can be tried: `--device cpu --model blip2-opt-2.7b:scale=0.1 --quick`.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()  # importing torch and transformers takes its part of the budget

import argparse  # noqa: E402
import gc  # noqa: E402
import importlib.util  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]


def make_findable() -> None:
    """Gives tokprune a distribution where it is only on the path: the registry asks for its version."""
    import tokprune

    try:
        version("tokprune")
    except PackageNotFoundError:
        folder = Path(tempfile.mkdtemp()) / f"tokprune-{tokprune.__version__}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tokprune\nVersion: {tokprune.__version__}\n")
        sys.path.append(str(folder.parent))


make_findable()

import gpu_summary  # noqa: E402
import torch  # noqa: E402

from tokprune.bench.loading import DTYPES  # noqa: E402
from tokprune.bench.randominputs import random_inputs  # noqa: E402
from tokprune.bench.randomweights import random_model  # noqa: E402
from tokprune.bench.sizes import parse_size, real_size_config  # noqa: E402
from tokprune.bench.speed.block import Settings  # noqa: E402
from tokprune.bench.speed.certificate import certify_speed  # noqa: E402
from tokprune.bench.speed.clock import clock_for  # noqa: E402
from tokprune.bench.speed.row import SpeedRow  # noqa: E402
from tokprune.bench.speed.run import Entry, Listener, run_speed  # noqa: E402
from tokprune.bench.store import RowStore  # noqa: E402
from tokprune.cli.policies import parse_policies  # noqa: E402

PROMPT_TOKENS = 4  # a caption: "a photo of"
NEW_TOKENS, FEW_TOKENS = 10, 3
FEWEST, MOST = 5, 20
"""Measured calls of each variant."""
RESERVE = 15.0
"""Seconds kept for writing the summary."""


class OutOfTimeError(Exception):
    """The budget is spent."""


@dataclass(frozen=True)
class Step:
    """Something to measure.

    Args:
        name: What the summary calls it.
        seconds: What it may take, if so much is left.
        least: With less time left it is not begun.
        run: Does it in the seconds it is given, and returns what to say about it.
    """

    name: str
    seconds: float
    least: float
    run: Callable[[float], str]


class Bench:
    """One model in memory at a time, one file of rows."""

    def __init__(self, arguments: argparse.Namespace, deadline: float) -> None:
        self.device, self.dtype, self.quick = arguments.device, arguments.dtype, arguments.quick
        self.backend, self.folder = arguments.backend, arguments.out
        self.deadline = deadline
        self.clock = clock_for(torch.device(self.device))
        self._name, self._model = "", None

    def model(self, name: str) -> Any:
        """The model of that name; the one before is forgotten."""
        if self._name != name:
            self._name, self._model = "", None
            gc.collect()
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            self._model = random_model(real_size_config(name), device=self.device, dtype=self.dtype)
            self._name = name
        return self._model

    def speed(self, name: str, batch_size: int, policy: str, beams: int, seconds: float) -> str:
        """Measures one block, with as many repeats as fit into `seconds`."""
        begin = time.monotonic()
        model = self.model(name)
        entry = Entry(*parse_policies(policy))
        settings = Settings(FEW_TOKENS if self.quick else NEW_TOKENS, beams, repeats=1, warm_up=0)
        if not self.quick:
            one = self._seconds_of_a_call(model, batch_size, settings)
            settings = Settings(NEW_TOKENS, beams, self._repeats(one, seconds - (time.monotonic() - begin)), warm_up=2)
        certificate = certify_speed(
            model, settings, self.clock, name=name, random_weights=True, seed=0, prompt_tokens=PROMPT_TOKENS
        )
        store = RowStore(self.folder / "rows.jsonl", SpeedRow, certificate, shared=True)
        run_speed(model, [entry], [batch_size], settings, self.clock, store, Watch(self.deadline))
        return f"{settings.repeats} repeats"

    def _seconds_of_a_call(self, model: Any, batch_size: int, settings: Settings) -> float:
        inputs = random_inputs(model, batch_size, PROMPT_TOKENS)
        for _ in range(2):  # the first one warms up
            self.clock.settle()
            begin = self.clock.mark()
            model.generate(**inputs, **settings.generation)
            one = self.clock.seconds(begin, self.clock.mark())
        return one

    def _repeats(self, one: float, seconds: float) -> int:
        """Measured calls that fit, besides about 14 others: proof, arithmetic (slow), memory, warm-up, stages."""
        fit = int(seconds / (3 * one)) - 14
        if fit < FEWEST:
            raise OutOfTimeError(f"a call takes {one:.2f} s, so {FEWEST} repeats do not fit into {seconds:.0f} s")
        return min(fit, MOST)


class Watch(Listener):
    """Stops a block when the budget is spent."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def call_done(self) -> None:
        """Looks at the time."""
        if time.monotonic() > self.deadline:
            raise OutOfTimeError("the budget was spent in the middle of it")


READERS = ("llava-1.5-7b", "qwen2.5-vl-7b", "llama-3.2-11b-vision")
"""Sizes whose language model reads every image token."""


def steps_of(bench: Bench, model: str) -> list[Step]:
    """What to measure of a model, the most important first."""
    return _steps_of_reader(bench, model) if model.partition(":")[0] in READERS else _steps_of_blip(bench, model)


def _steps_of_reader(bench: Bench, model: str) -> list[Step]:
    """The smallest batch and one that fills the device, by the cheapest scorer and by one that reads attention."""
    many = 2 if bench.quick else 4 if model.startswith(READERS[2]) else 16
    norms, received = "l2-norm keep=1/4", f"received-attention keep=1/4{_counted_by('sum', bench.backend)}"
    plan = (
        [(many, received, 80.0)]
        if bench.quick
        else [
            (many, received, 100.0),  # building the model included
            (1, received, 50.0),
            (many, norms, 60.0),
            (1, norms, 40.0),
        ]
    )

    def step(batch_size: int, policy: str, seconds: float) -> Step:
        name = f"{model}, batch {batch_size}, greedy, image tokens by {policy.partition(' ')[0]}"
        return Step(name, seconds, seconds / 3, lambda left: bench.speed(model, batch_size, policy, 1, left))

    return [step(*each) for each in plan]


def _steps_of_blip(bench: Bench, model: str) -> list[Step]:
    scale = model.partition(":")[2]
    other = "blip2-flan-t5-xl" + (f":{scale}" if scale else "")
    many, some = (2, 1) if bench.quick else (64, 8)
    beams = 2 if bench.quick else 5
    cuda = bench.device.startswith("cuda")

    def speed(name: str, batch_size: int, what: str, policy: str, width: int = 1, seconds: float = 50.0) -> Step:
        search = f"{width} beams" if width > 1 else "greedy"
        return Step(
            f"{name}, batch {batch_size}, {search}, {what}",
            seconds,
            seconds / 3,
            lambda left: bench.speed(name, batch_size, policy, width, left),
        )

    query = f"catp-vote keep=1/4{_counted_by('borda', bench.backend)}"
    ranked = f"received-attention target=image keep=1/4{_counted_by('sum', bench.backend)}"
    image, merged = f"{ranked} after=1/3", f"{ranked} after=1/3 reduction=merge"
    gradual = f"{ranked} after=every reduction=merge"
    both = "image and query tokens"
    plan = [
        speed(model, many, both, f"{image} + {query}", seconds=80),  # building the model included
        speed(model, many, "query tokens", query),
        speed(model, many, both, f"{image} + {query}", beams, seconds=80),
        speed(model, 1, "query tokens", query),
        speed(model, some, "query tokens", query),
    ]
    if cuda:
        plan.append(Step("kernels", 80, 30, lambda left: kernels(bench, left)))
        plan.append(Step("tests on the GPU", 90, 40, lambda left: gpu_tests(bench.folder, left)))
    if not bench.quick:
        plan += [
            speed(model, many, "image tokens", image),
            speed(model, 1, both, f"{image} + {query}"),
            speed(model, some, both, f"{image} + {query}"),
        ]
    plan.append(speed(other, many, both, f"{image} + {query}", seconds=80))
    if not bench.quick:
        plan += [
            speed(other, 1, "query tokens", query),
            speed(other, many, "query tokens", query),
            speed(model, many, f"{both}, image tokens merged", f"{merged} + {query}", seconds=80),
            speed(model, many, f"{both}, image tokens merged behind every layer", f"{gradual} + {query}"),
        ]
    return list({step.name: step for step in plan}.values())


def _counted_by(rule: str, backend: str) -> str:
    return "" if backend == "auto" else f" aggregator={rule}:backend={backend}"


def kernels(bench: Bench, seconds: float) -> str:
    """The benchmark of the kernels, in processes of its own: CATP's votes, and attention received in the encoder."""
    begin = time.monotonic()
    shapes = (
        "--batch-size 32 --layers 6 --heads 12 --queries 32 --keys 257",
        "--what total --candidates key --batch-size 64 --layers 1 --heads 16 --queries 257 --keys 257 --dim 88",
    )
    ends = []
    for shape in shapes:
        command = [sys.executable, "-m", "tokprune.bench.kernels", "--device", bench.device, "--dtype", bench.dtype]
        left = max(seconds - (time.monotonic() - begin), 1.0)
        ends.append(_in_a_process([*command, "--no-loop", *shape.split()], bench.folder / "kernels.txt", left))
    return "; ".join(ends)


def gpu_tests(folder: Path, seconds: float) -> str:
    """The tests that need a GPU, in a process of their own."""
    missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        return f"not run: {', '.join(missing)} is not installed"
    # Without the project's own options: they ask for plugins that may not be here.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    return _in_a_process(command, folder / "tests.txt", seconds)


def _in_a_process(command: Sequence[str], log: Path, seconds: float) -> str:
    """Runs a command with a limit; its output is added to a file, its last line is returned."""
    folders = [str(ROOT), *(folder for folder in sys.path if folder.startswith(tempfile.gettempdir()))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])}
    with log.open("a", encoding="utf-8") as file:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=seconds, check=False
            ).returncode
            ended = "" if code == 0 else f"exit code {code}; "
        except subprocess.TimeoutExpired:
            ended = f"stopped after {seconds:.0f} s; "
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return ended + (lines[-1] if lines else "no output")


def measure_all(arguments: argparse.Namespace) -> list[gpu_summary.Outcome]:
    """Takes the steps one by one; after each one the summary is on the disk."""
    deadline = STARTED + arguments.minutes * 60 - RESERVE
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments, deadline)
    outcomes: list[gpu_summary.Outcome] = []
    for step in [step for model in arguments.model for step in steps_of(bench, model)]:
        begin = time.monotonic()
        left = deadline - begin
        state, note = "skipped", f"{max(left, 0):.0f} s left, {step.least:.0f} s needed"
        if left >= step.least:
            try:
                state, note = "done", step.run(min(step.seconds, left))
            except OutOfTimeError as error:
                state, note = "skipped", str(error)
            except Exception as error:  # one step that fails must not cost the others
                traceback.print_exc()
                state, note = "failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        outcomes.append(gpu_summary.Outcome(step.name, state, time.monotonic() - begin, note))
        print(f"[{time.monotonic() - STARTED:4.0f} s] {step.name}: {state}, {note}", flush=True)
        gpu_summary.write(arguments.out, arguments.device, outcomes)
    return outcomes


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows, summary and plots")
    parser.add_argument("--minutes", type=float, default=9.0, help="time budget, imports included")
    parser.add_argument("--device", default="cuda", help="torch device")
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES)
    parser.add_argument(
        "--model",
        nargs="+",
        default=["blip2-opt-2.7b"],
        help="real sizes; beside a BLIP-2, the one with T5 is measured at the same scale",
    )
    parser.add_argument("--backend", default="auto", help="who counts votes: auto, triton or reference")
    parser.add_argument("--quick", action="store_true", help="tiny batches, one repeat: to try the way, not to measure")
    arguments = parser.parse_args(words)
    for model in arguments.model:
        parse_size(model)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device; try the way with --device cpu --model blip2-opt-2.7b:scale=0.1 --quick")
    return arguments


def main() -> int:
    """Measures; the exit status says whether any step failed."""
    outcomes = measure_all(parse())
    return 1 if any(outcome.state == "failed" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
