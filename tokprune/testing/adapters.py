"""`check_adapter`: the laws of adapters, on a model that one brings along."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.apply import apply
from tokprune.bound import bind
from tokprune.errors import AdapterError
from tokprune.interfaces import Adapter, Choice, Cut, Observed
from tokprune.keep import Keep
from tokprune.observe import observe
from tokprune.outputs import answer_of
from tokprune.reductions import Prune
from tokprune.signal import ATTENTION_NAMES, SIGNAL_NAMES, VECTOR_NAMES, Signal
from tokprune.testing import components
from tokprune.testing.attentionwatch import AttentionWatch
from tokprune.testing.failures import Violation, same, shown
from tokprune.testing.laws import Law, check_all
from tokprune.votes import AttentionVotes, Votes


@dataclass(frozen=True, eq=False)
class Case:
    """A model and the keyword arguments of one forward."""

    model: nn.Module
    inputs: Mapping[str, Any]

    def answer(self) -> Tensor:
        """What the model answers."""
        with torch.no_grad():
            return answer_of(self.model(**self.inputs))


def check_adapter(adapter: Adapter, model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Check that an adapter observes what it offers, really shortens the sequence, and leaves no trace.

    Args:
        adapter: the object.
        model: a model that it knows, in evaluation mode. A tiny random one will do, if its attention is not nearly
            uniform: scale its query projections until the attention logits spread by about 2.
        inputs: keyword arguments of the model's forward, for a batch of two or more images.

    Raises:
        AssertionError: the first law that is broken, in words.
    """
    check_all(laws(adapter, model, inputs))


def laws(adapter: Adapter, model: nn.Module, inputs: Mapping[str, Any]) -> list[Law]:
    """The laws of adapters, for this one."""
    return [Law("adapter", adapter, law, (Case(model, inputs),)) for law in LAWS]


def knows_its_model(adapter: Any, case: Case) -> None:
    """An adapter matches its own models and no others, and finds out without an error."""
    if adapter.matches(case.model) is not True:
        raise Violation(f"matches({type(case.model).__name__}) must be True.")
    if adapter.matches(nn.Linear(1, 1)) is not False:
        raise Violation("matches(Linear) must be False.")


def offers_known_signals(adapter: Any, case: Case) -> None:
    """An adapter names its targets and, for each, the signals it offers."""
    offers = bind(adapter, case.model).offers
    if not offers or not all(set(signals) <= set(SIGNAL_NAMES) and signals for signals in offers.values()):
        raise Violation(f"It offers {dict(offers)!r}; the signals are {', '.join(SIGNAL_NAMES)}.")


def signals_come_as_offered(adapter: Any, case: Case) -> None:
    """Every signal that is offered can be captured, is finite, and is about the target tokens."""
    for target, names in bind(adapter, case.model).offers.items():
        for together, signal in _observed(adapter, case, target, names):
            if set(signal.offered) != set(together):
                raise Violation(f"Target {target!r} offers {together}, and a signal came with {signal.offered}.")
            for name in (name for name in VECTOR_NAMES if name in together):
                found = tuple(getattr(signal, name).shape)
                if found[:2] != signal.shape:
                    raise Violation(f"`{name}` has shape {found} where there are {signal.shape} tokens.")
            for name in ATTENTION_NAMES:
                for layer in getattr(signal, name) if name in together else ():
                    _check_votes(name, layer, signal)


def attention_is_the_models_own(adapter: Any, case: Case) -> None:
    """Attention comes as the model computes it: the queries, keys, scale and mask of each layer are the right ones."""
    for target, names in bind(adapter, case.model).offers.items():
        with AttentionWatch() as watch:
            seen = _observed(adapter, case, target, names)
        for name in ATTENTION_NAMES if watch.maps else ():
            for votes in (votes for together, signal in seen if name in together for votes in getattr(signal, name)):
                if isinstance(votes, AttentionVotes) and not watch.has_seen(votes.attention):
                    raise Violation(
                        f"Target {target!r}: {name} of layer {votes.layer} has the probabilities "
                        f"{shown(votes.attention[0, 0])} for the first image and head, and no attention that the model "
                        "computes has them. Are it the right projections, in the right order, and the right scale?"
                    )


def observing_changes_nothing(adapter: Any, case: Case) -> None:
    """Observing a model does not change what it answers."""
    before = case.answer()
    for target, names in bind(adapter, case.model).offers.items():
        _observed(adapter, case, target, names)
    if not same(case.answer(), before):
        raise Violation("The logits differ after observing.")


def prunes_for_real(adapter: Any, case: Case) -> None:
    """keep=1.0 leaves the logits as they are, bit for bit, and fewer kept tokens make a shorter sequence."""
    for target in bind(adapter, case.model).offers:
        with apply(case.model, scorer="first", keep=0.5, target=target, adapter=adapter) as handle:
            report = handle.check(dict(case.inputs))
        if report.length_after >= report.length_before:
            raise Violation(f"Target {target!r} at keep=0.5: {report!r}")


def remove_leaves_no_trace(adapter: Any, case: Case) -> None:
    """After remove, the model has the hooks, attributes, weights and answers that it had before."""
    for target in bind(adapter, case.model).offers:
        own = _remembered(case)
        before, traces = case.answer(), _traces(case.model, own)
        handle = apply(case.model, scorer="first", keep=1, target=target, adapter=adapter)
        pruned = case.answer()
        handle.remove()
        handle.remove()
        if _traces(case.model, own) != traces:
            raise Violation(f"Target {target!r} leaves behind: {_difference(_traces(case.model, own), traces)}")
        if not same(case.answer(), before):
            raise Violation(f"Target {target!r}: the logits differ after remove.")
        if same(pruned, before):
            raise Violation(f"Target {target!r}: keep=1 does not change the logits at all.")


def failure_leaves_no_trace(adapter: Any, case: Case) -> None:
    """An exception in the middle of a pruned call, or in attach, leaves a model that works as before."""
    for target, names in bind(adapter, case.model).offers.items():
        own = _remembered(case)
        before, traces = case.answer(), _traces(case.model, own)

        def broken(signal: Signal, keep: Keep | None = None) -> Choice:
            raise KeyboardInterrupt

        def done(observed: Observed) -> None:
            pass

        cut = Cut(target, {names[0]: "all"}, broken, Prune(), "compact", keep=1)
        attachment = bind(adapter, case.model).attach(cut, done, object())
        try:
            case.answer()
        except KeyboardInterrupt:
            pass
        else:
            raise Violation(f"Target {target!r}: `choose` was not called, or what it raised was swallowed.")
        finally:
            attachment.remove()
        if _traces(case.model, own) != traces or not same(case.answer(), before):
            raise Violation(f"Target {target!r} leaves behind: {_difference(_traces(case.model, own), traces)}")
        with contextlib.suppress(AdapterError, ValueError, KeyError):
            bind(adapter, case.model).attach(Cut("nowhere", {}, broken, Prune(), "compact"), done, object()).remove()
        if _traces(case.model, own) != traces:
            raise Violation(f"attach left behind: {_difference(_traces(case.model, own), traces)}")


def _remembered(case: Case) -> set[tuple[str, str]]:
    """Module and name of the attributes that the model itself sets in every call."""

    def attributes() -> dict[tuple[str, str], Any]:
        return {
            (name, key): value for name, module in case.model.named_modules() for key, value in vars(module).items()
        }

    before = attributes()
    case.answer()
    return {where for where, value in attributes().items() if value is not before.get(where)}


def _observed(adapter: Any, case: Case, target: str, names: Sequence[str]) -> list[tuple[tuple[str, ...], Signal]]:
    """All signals of a target, together; where they are observed in different places, one by one."""
    try:
        return [(tuple(names), observe(case.model, case.inputs, names, target=target, adapter=adapter))]
    except AdapterError:
        every = [(name,) for name in names]
        return [(one, observe(case.model, case.inputs, one, target=target, adapter=adapter)) for one in every]


def _check_votes(name: str, layer: Votes, signal: Signal) -> None:
    """Raise `Violation` unless the votes of one layer are about the target tokens, and are numbers."""
    about_targets = name != "encoder_attention"
    if layer.shape[0] != signal.batch or (about_targets and layer.shape[2] != signal.token_count):
        raise Violation(f"{name} of layer {layer.layer} has votes {layer.shape} for {signal.shape} tokens.")
    if not bool(layer.values.isfinite().all()):
        raise Violation(f"{name} of layer {layer.layer} is not finite: {shown(layer.values)}.")


def _traces(model: nn.Module, but: Collection[tuple[str, str]] = ()) -> dict[str, tuple[Any, ...]]:
    """Everything by which a module may have been changed: hooks, attributes, class, parameter names.

    Attributes in `but` are left out.
    """
    found = {}
    for name, module in model.named_modules():
        hooks = tuple(
            tuple(map(id, getattr(module, kind).values())) for kind in sorted(vars(module)) if kind.endswith("_hooks")
        )
        attributes = tuple(sorted((key, id(value)) for key, value in vars(module).items() if (name, key) not in but))
        found[name or "the model"] = (type(module), hooks, attributes, tuple(module.state_dict()))
    return found


def _difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    changed = [name for name in found if found[name] != expected.get(name)]
    return ", ".join(changed) or "nothing that can be seen, but other answers"


LAWS = (
    *components.LAWS,
    knows_its_model,
    offers_known_signals,
    signals_come_as_offered,
    attention_is_the_models_own,
    observing_changes_nothing,
    prunes_for_real,
    remove_leaves_no_trace,
    failure_leaves_no_trace,
)
"""The laws of adapters, in the order they are checked."""
