"""Handle: a policy that sits on a model. Report, check, undo."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any

import torch
from torch import nn

from tokprune.adapters.attached import attachments_on
from tokprune.compiled import forget_compiled
from tokprune.errors import TokpruneError
from tokprune.interfaces import Attachment, Bound, Choice, Cut, Observed
from tokprune.keep import Keep
from tokprune.policy import Policy
from tokprune.report import Report, report_of
from tokprune.signal import Signal
from tokprune.verify import verify
from tokprune.wrappers import refuse_a_part

_COUNTER = itertools.count()


class Handle:
    """What `tokprune.apply` returns. Also a context manager that removes itself.

    Attributes:
        model: the model the policy sits on.
        policy: the policy.
        adapter: the adapter that fits the model.
        target: which tokens are removed.
        report: what was pruned in the last call; None before the first, and after one in which nothing was. A call
            that goes on with the cache of an earlier one, such as a step of a generation, keeps the report of that. The
            last call may be one that code of yours makes inside `generate`, such as a logits processor.
    """

    def __init__(self, bound: Bound, policy: Policy, target: str, cut: dict[str, Any]) -> None:
        self.model, self.policy, self.adapter, self.target = bound.model, policy, bound.adapter, target
        self._bound = bound
        self.report: Report | None = None
        self.order = next(_COUNTER)
        self._cut = Cut(choose=self._choose, **cut)
        self._attachment: Attachment | None = None
        self._attach()
        forget_compiled()

    def _attach(self) -> None:
        """Attach the cut; if that is interrupted, however late, nothing stays on the model."""
        try:
            self._attachment = self._bound.attach(self._cut, self._done, self)
        except BaseException:
            self.remove()
            raise

    @property
    def active(self) -> bool:
        """Whether the policy still sits on the model."""
        return self._attachment is not None and getattr(self._attachment, "sits", True)

    @property
    def stages(self) -> bool:
        """Whether other policies may prune the same target at other places."""
        return bool(getattr(self._attachment, "stages", False))

    @property
    def places(self) -> set[int]:
        """After how many layers of its reader it prunes, where the adapter says so; 0 is in front of it."""
        return set(getattr(self._attachment, "places", ()))

    def remove(self) -> None:
        """Make the model exactly what it was. Calling it again does nothing, or finishes what was interrupted.

        A call that runs in another thread ends pruned, as it began: hooks leave the model when the last of those ends,
        and no new call is pruned meanwhile. The same goes for a call that removes the handle itself, in a hook.
        """
        mine = [each for each in attachments_on(self.model) if each.owner is self]
        for attachment in dict.fromkeys([self._attachment, *mine]):
            if attachment is not None:
                attachment.remove()
        self._attachment = None
        forget_compiled()

    def check(self, inputs: dict[str, Any]) -> Report:
        """Prove on one batch that the policy really works on this model: a canary for compiled models, swapped modules
        and new releases of transformers.

        In a forward: keep=1.0 changes nothing, bit for bit, and fewer tokens really go on. In a generation of a few
        greedy tokens, where the model can generate: keep=1.0 gives the same tokens, the tokens that were kept with the
        prompt stay the same, the cache really is shorter, and with the cache the logits are those without.

        What cannot be proved is told by a warning with the reason: inputs from which the model does not generate, a
        policy that refuses to, a model that does not generate without a cache. Beams, sampling and other ways to
        generate are not tried.

        Args:
            inputs: keyword arguments of the model's forward (labels or decoder ids included where it needs them; they
                are left out of the generation).

        Returns:
            The report of the pruned forward.

        Raises:
            TokpruneError: the proof failed; the message says which part and what was seen.
        """
        if self._attachment is None or not self.active:
            raise TokpruneError("this handle was removed from its model; apply the policy again to check it")
        underway = getattr(self._attachment, "underway", None)
        if underway is not None and underway.running is not None:
            raise TokpruneError(
                f"handle.check was called by code that runs inside a call of the {type(self.model).__name__}, such as "
                "a logits processor, and calls end as they began; check before or after that call"
            )
        with torch.no_grad():
            self.model(**inputs)  # as the policy sits there now: attached anew, it would not miss a module put in since
        nothing = getattr(self._attachment, "nothing_to_prune", None)
        if self.report is None and nothing is not None:
            raise TokpruneError(f"nothing was pruned in a forward of these inputs, so nothing can be proved: {nothing}")
        try:
            self._attachment.remove()
            verify(self._bound, self._cut, inputs, self)
        finally:
            self.remove()  # also what an interrupted proof left
            self._attach()
        return self._run(inputs)

    def _run(self, inputs: dict[str, Any]) -> Report:
        self.report = None
        with torch.no_grad():
            self.model(**inputs)
        report: Report | None = self.report  # set by the forward, which the type checker cannot see
        if report is None:
            raise TokpruneError("the pruned forward left no report: the cut never happened")
        return report

    def forget_report(self) -> None:
        """Say nothing of an earlier call any more: another one has begun."""
        self.report = None

    def _choose(self, signal: Signal, keep: Keep | None = None) -> Choice:
        refuse_a_part(self.model)
        return self.policy.choose(signal, keep)

    def _done(self, observed: Observed) -> None:
        self.report = report_of(observed)

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = "on" if self.active else "removed from"
        return f"Handle({self.policy!r} {state} {type(self.model).__name__}, target {self.target!r})"


def handles_of(model: nn.Module) -> list[Handle]:
    """The handles that sit on `model`, in the order they came; a deep copy of a pruned model has its own."""
    owners = {attachment.owner for attachment in attachments_on(model) if attachment.sits}
    return sorted((owner for owner in owners if isinstance(owner, Handle)), key=lambda handle: handle.order)
