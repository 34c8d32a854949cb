"""The capability table: what really ran on tiny random models, never what is claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

HEAD = """# Capabilities

Made by running, not by claiming: each built-in adapter is tried on a tiny random model, for each of its targets. *Yes*
means that `tokprune.apply` took the policy, that the model ran, that the report tells of fewer tokens and a shorter
sequence (or, with `mask`, of hidden tokens at full length), and that the model answered bit for bit what it had
answered before once all policies were removed. *No* means that `tokprune.apply`, or the call, raised an error that says
why, before anything was changed.
"""

KEEP = 0.5

WAYS: Mapping[str, Mapping[str, Any]] = {
    "prune": {},
    "merge": {"reduction": "merge"},
    "mask": {"reduction": "mask"},
    "positions kept": {"positions": "preserve"},
    "as many as it takes (`top-p`)": {"selector": "top-p"},
    "`after=1`": {"after": 1},
    "`after=(1, 2)`": {"after": (1, 2)},
    '`inside="encoder"`': {"inside": "encoder"},
    "weighed": {"reduction": "merge", "attention": "proportional"},
    "weighed, `after=1`": {"reduction": "merge", "attention": "proportional", "after": 1},
}
"""What is tried beside scorers, with a scorer that needs nothing -> arguments of a policy."""


@dataclass
class Trial:
    """A tiny model, one of its targets, and its answer when nothing is pruned.

    Args:
        adapter: registered name.
        model: the model.
        inputs: keyword arguments of its forward.
        target: what is removed.
    """

    adapter: str
    model: Any
    inputs: Mapping[str, Any]
    target: str
    before: Any = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.answer()

    def answer(self) -> Any:
        """What the model answers."""
        import torch

        from tokprune.outputs import answer_of

        with torch.no_grad():
            return answer_of(self.model(**self.inputs))

    def check_unchanged(self) -> None:
        """Raise unless the model answers as it did before anything was applied to it."""
        import torch

        if not torch.equal(self.before, self.answer()):
            raise AssertionError(f"{self}: remove() did not put the model back")

    def runs(self, call: Callable[[], Any], **options: Any) -> Any:
        """The report of a call under a policy, or None where an error said that it cannot be."""
        from tokprune import TokpruneError, apply

        report: Any = None
        try:
            with apply(self.model, target=self.target, keep=KEEP, **options) as handle:
                call()
                report = handle.report
        except TokpruneError:
            report = None
        if report is not None:
            removes = options.get("reduction") != "mask"
            if (report.length_after < report.length_before) is not removes or bool(report.kept.all()):
                raise AssertionError(f"{self}: the report does not fit {options}: {report!r}")
        return report

    def stages(self) -> Any:
        """The report of the second of two policies on this target: at its usual place, and after a layer."""
        from tokprune import Policy, TokpruneError, apply

        first = Policy("first", keep=0.75, target=self.target)
        try:
            with apply(self.model, [first, Policy("first", keep=KEEP, target=self.target, after=2)]) as handles:
                self.answer()
                return handles[1].report
        except TokpruneError:
            return None

    def generate(self, **options: Any) -> Any:
        """Three new tokens."""
        import torch

        given = {name: value for name, value in self.inputs.items() if name not in ("labels", "decoder_input_ids")}
        with torch.no_grad():
            return self.model.generate(**given, max_new_tokens=3, do_sample=False, **options)

    def __str__(self) -> str:
        return f"{self.adapter}, target {self.target}"


def trials() -> Iterator[Trial]:
    """One for each target of each built-in adapter."""
    from tokprune.bound import bind
    from tokprune.registry import default_registry
    from tokprune.testing import tiny
    from tokprune.testing.models import ROWS

    registry = default_registry()
    for entry in registry.entries("adapter"):
        deep = {"depth": 4} if "depth" in signature(ROWS[entry.name].config).parameters else {}
        model, inputs = tiny(entry.name, **deep)  # deep enough for each way to prune
        for target in bind(entry.cls(), model).offers:
            yield Trial(entry.name, model, inputs, target)


def render() -> str:
    """The page as Markdown."""
    from tokprune.registry import default_registry

    scorers = default_registry().names("scorer")
    observed, scored, cut = [], [], []
    for trial in trials():
        name = [f"`{trial.adapter}`", f"`{trial.target}`"]
        observed.append([*name, f"`{type(trial.model).__name__}`", *_observed(trial)])
        scored.append([*name, *(_verdict(trial.runs(trial.answer, scorer=scorer)) for scorer in scorers)])
        ways = [_verdict(trial.runs(trial.answer, scorer="first", **options)) for options in WAYS.values()]
        cut.append([*name, *ways, _verdict(trial.stages()), *_generated(trial)])
        trial.check_unchanged()
    return "\n".join(
        [
            HEAD,
            "## What is observed",
            "",
            *_table(["adapter", "target", "model", "tokens per image", "signals"], observed),
            "",
            "## Scorers",
            "",
            "A scorer fits wherever the signals that it needs are observed, and no list of names stands in between.",
            "",
            *_table(["adapter", "target", *(f"`{name}`" for name in scorers)], scored),
            "",
            "## Ways to prune",
            "",
            "With the scorer `first`, which needs no signal. *Weighed*: tokens are merged, and what reads them counts",
            "each for as many as it stands for (`attention='proportional'`). *Stages*: two policies on one target, one",
            "at its usual place and one after two layers. A dash: the model has no `generate`.",
            "",
            *_table(["adapter", "target", *WAYS, "stages", "greedy", "beams"], cut),
            "",
        ]
    )


def _observed(trial: Trial) -> list[str]:
    """How many target tokens the images have, and which signals there are."""
    from tokprune import observe
    from tokprune.fit import bound_to

    names = bound_to(trial.model, trial.adapter).offers[trial.target]
    for name in names:  # one by one: some are observed in front of a language model, others inside
        signal = observe(trial.model, trial.inputs, needs=(name,), target=trial.target, adapter=trial.adapter)
        if signal.offered != (name,):
            raise AssertionError(f"{trial}: {name!r} was wanted, {signal.offered} were observed")
    report = trial.runs(trial.answer, scorer="first")
    counts = sorted(set((~report.scores.isnan()).sum(dim=1).tolist()))
    return [", ".join(map(str, counts)), ", ".join(f"`{name}`" for name in names)]


def _generated(trial: Trial) -> list[str]:
    if not hasattr(trial.model, "generate") or not trial.model.can_generate():
        return ["-", "-"]
    return [
        _verdict(trial.runs(lambda beams=beams: trial.generate(num_beams=beams), scorer="first")) for beams in (1, 3)
    ]


def _verdict(report: Any) -> str:
    return "no" if report is None else "yes"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
