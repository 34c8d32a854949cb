"""`tokprune inspect`: what can be pruned on a model, by which scorers, and what it can gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprune.cli.arguments import DEFAULT_MODEL, Device, Dtype, TrustRemoteCode, parse_after
from tokprune.cli.candidates import candidates
from tokprune.errors import AdapterError, InvalidValueError, TokpruneError

if TYPE_CHECKING:
    from rich.table import Table

    from tokprune.bench.arithmetic import Arithmetic
    from tokprune.bench.promptarithmetic import PromptArithmetic
    from tokprune.signal import Signal

_ATTENTION = ("cross_attention", "self_attention", "encoder_attention")
_CALL = "The call and the machine that the arithmetic is about"


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A model of the zoo, a local folder, a hub id, or a real size by name, such as blip2-opt-2.7b.",
            metavar="[MODEL]",
        ),
    ] = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    trust_remote_code: TrustRemoteCode = False,
    text_tokens: Annotated[int, typer.Option(min=1, help="Length of the prompt.", rich_help_panel=_CALL)] = 16,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer.", rich_help_panel=_CALL)] = 10,
    beams: Annotated[int, typer.Option(min=1, help="Beams of the search; 1 is greedy.", rich_help_panel=_CALL)] = 1,
    batch: Annotated[int, typer.Option(min=2, help="The large batch, beside batch 1.", rich_help_panel=_CALL)] = 32,
    after: Annotated[
        str | None,
        typer.Option(
            help="Where image tokens leave: after a share of the layers (1/3), a number of them (13), several "
            "(6,13,20), or every; of the image encoder (BLIP-2, InstructBLIP; default: 1/3) or the language model "
            "(LLaVA; default: in front of it).",
            rich_help_panel=_CALL,
        ),
    ] = None,
    flop_rate: Annotated[
        float, typer.Option(help="TFLOP/s that the machine reaches; an H200: 60% of 989.", rich_help_panel=_CALL)
    ] = 593.4,
    bandwidth: Annotated[
        float, typer.Option(help="TB/s that the machine reads; an H200: 80% of 4.8.", rich_help_panel=_CALL)
    ] = 3.84,
) -> None:
    """Show a model's adapter, targets and signals, which scorers fit, and what pruning can gain.

    The gains are arithmetic, done before anything is run. A real size by name takes no memory: only shapes are made.
    Of a model without an adapter it lists the attention that one could take votes from.
    """
    from tokprune.bench.console import stdout
    from tokprune.bench.costs import Workload
    from tokprune.bench.gains import Gains
    from tokprune.bench.roofline import Machine
    from tokprune.cli.arithmetic import call_text, engineering, gains_table, stages_table, words

    workload, machine = Workload(text_tokens, answer_tokens, beams), Machine(flop_rate * 1e12, bandwidth * 1e12)
    where = None if after is None else parse_after(after)
    loaded, processor = _load(model, device, dtype, trust_remote_code)
    adapter, offers, no_adapter = _adapter(loaded)
    console = stdout()
    parameters = sum(p.numel() for p in loaded.parameters())
    weights = "" if processor else " (shapes only, no weights)"
    console.print(
        f"[bold]{model}[/]: {type(loaded).__name__}, {engineering(parameters)} parameters{weights}, "
        f"attention {loaded.config._attn_implementation}, {adapter}",
        highlight=False,
    )
    if offers:
        try:
            targets = _observed_targets(loaded, processor, offers) if processor else _targets(offers)
        except (TokpruneError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            targets = _targets(offers)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            console.print(f"Shapes are not shown: a picture of noise was refused ({reason})", highlight=False)
        console.print(targets, _scorers(loaded, offers))
    else:
        for part in candidates(loaded):
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    try:
        arithmetic = _arithmetic(loaded)
    except AdapterError as error:
        console.print(f"What pruning can gain is not known: {error}", highlight=False)
        return
    known = tuple(arithmetic.stages)
    countable = tuple(target for target in known if target in offers) or known
    gains = Gains(arithmetic, countable, workload, machine, batch, after=where, stages=arithmetic.stages)
    console.print(call_text(gains), stages_table(gains), gains_table(gains), words(gains, model), highlight=False)
    if no_adapter:
        console.print(f"[bold]It cannot be pruned yet:[/] {no_adapter}", highlight=False)


def _arithmetic(model: Any) -> Arithmetic | PromptArithmetic:
    """What counts this model's costs."""
    from tokprune.bench import arithmetic, promptarithmetic

    if model.config.model_type in promptarithmetic.MODELS:
        return promptarithmetic.PromptArithmetic(model)
    if model.config.model_type in arithmetic.MODELS:
        return arithmetic.Arithmetic(model)
    raise AdapterError(
        "the arithmetic is that of BLIP-2, InstructBLIP, LLaVA, Qwen-VL and Mllama, and this is a "
        f"{type(model).__name__}"
    )


def _load(name: str, device: str, dtype: str, trust_remote_code: bool) -> tuple[Any, Any]:
    """Model and processor; a model without weights and no processor where those are not needed or not to be had."""
    from tokprune.bench.loading import answers_questions, load_config, load_shapes
    from tokprune.bench.sizes import real_size_config
    from tokprune.bench.weightless import weightless
    from tokprune.cli.models import find, load
    from tokprune.cli.sizes import is_size

    if is_size(name):
        return weightless(real_size_config(name)), None
    config = load_config(find(name), trust_remote_code=trust_remote_code)
    if not answers_questions(config):
        return load_shapes(config, name), None
    try:
        return load(name, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    except InvalidValueError as error:
        try:
            return load_shapes(config, name), None
        except InvalidValueError:
            raise error from None


def _adapter(model: Any) -> tuple[str, Mapping[str, tuple[str, ...]], AdapterError | None]:
    """How to call the adapter, what it offers, and why there is none."""
    from tokprune.bound import adapter_name
    from tokprune.fit import bound_to

    try:
        bound = bound_to(model)
        return f"adapter '{adapter_name(bound.adapter)}'", bound.offers, None
    except AdapterError as error:
        return "no adapter", {}, error


def _targets(offers: Mapping[str, tuple[str, ...]]) -> Table:
    from rich.table import Table

    table = Table(title="Targets and the signals they offer", title_justify="left")
    table.add_column("target", no_wrap=True)
    table.add_column("signals")
    for index, (target, names) in enumerate(offers.items()):
        table.add_row(_target_name(target, index), ", ".join(names))
    return table


def _observed_targets(model: Any, processor: Any, offers: Mapping[str, tuple[str, ...]]) -> Table:
    from rich.table import Table

    from tokprune import observe
    from tokprune.bench.answering import forward_inputs, prepare
    from tokprune.bench.noise import noise_samples
    from tokprune.bench.prompts import hears

    table = Table(title="Targets and the signals they offer", title_justify="left")
    for column in ("target", f"tokens per {'sound' if hears(model) else 'image'}", "signal", "shape"):
        table.add_column(column)
    inputs = forward_inputs(model, prepare(model, processor, noise_samples(1)))
    for index, (target, names) in enumerate(offers.items()):
        try:
            seen = dict.fromkeys(names, observe(model, inputs, needs=names, target=target))
        except AdapterError:  # such as LLaVA's, of which some are there inside the language model and some in front
            seen = {name: observe(model, inputs, needs=(name,), target=target) for name in names}
        first = (_target_name(target, index), str(seen[names[0]].token_count))
        for row, offered in enumerate(names):
            table.add_row(*(first if row == 0 else ("", "")), offered, _shape(seen[offered], offered))
        table.add_section()
    return table


def _target_name(target: str, index: int) -> str:
    return f"{target} (default)" if index == 0 else target


def _shape(signal: Signal, name: str) -> str:
    value = getattr(signal, name)
    if name in _ATTENTION:
        layers = list(value)
        _, voters, tokens = layers[0].shape
        heads = layers[0].heads
        return (
            f"{_counted(len(layers), 'layer')} x {_counted(heads, 'head')}, "
            f"{_counted(voters // heads, 'voter')} for {_counted(tokens, 'token')}"
        )
    if name not in ("grid", "text"):
        return f"{value.shape[1]} vectors of {value.shape[2]}"
    if name == "grid":
        return f"{value[0]} rows, {value[1]} columns"
    return "embeddings of the prompt"


def _scorers(model: Any, offers: Mapping[str, tuple[str, ...]]) -> Table:
    from rich.table import Table

    from tokprune.bench.fitting import reasons_against

    table = Table(title="Scorers", title_justify="left")
    table.add_column("scorer", no_wrap=True)
    for target in offers:
        table.add_column(f"target '{target}'")
    by_target = [reasons_against(model, target) for target in offers]
    for name in by_target[0]:
        verdicts = [f"does not fit: {', and '.join(m[name])}" if m[name] else "fits" for m in by_target]
        table.add_row(name, *verdicts)
    return table


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
