"""`tokprune inspect`: what can be pruned on a model, by which scorers, and what it can gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprune.cli.arguments import DEFAULT_MODEL, Device, Dtype, Model

if TYPE_CHECKING:
    from rich.table import Table

    from tokprune.signal import Signal

_KEEPS = (1.0, 0.5, 0.25, 0.125)
_ATTENTION = ("cross_attention", "self_attention", "encoder_attention")


def inspect(
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    text_tokens: Annotated[int, typer.Option(min=1, help="Prompt length for the arithmetic.")] = 16,
) -> None:
    """Show a model's adapter, targets and signals, which scorers fit, and what pruning can gain."""
    from tokprune import adapter_for
    from tokprune.bench.console import stdout
    from tokprune.cli.models import load
    from tokprune.errors import AdapterError
    from tokprune.fit import adapter_name

    loaded, processor = load(model, device=device, dtype=dtype)
    adapter = adapter_for(loaded)
    offers = adapter.offers(loaded)
    console = stdout()
    parameters = sum(p.numel() for p in loaded.parameters())
    console.print(
        f"[bold]{model}[/]: {type(loaded).__name__}, {_engineering(parameters)} parameters, "
        f"attention {loaded.config._attn_implementation}, adapter '{adapter_name(adapter)}'",
        highlight=False,
    )
    console.print(_targets(loaded, processor, offers), _scorers(loaded, offers))
    try:
        table, words = _arithmetic(loaded, text_tokens)
    except AdapterError as error:
        console.print(str(error), highlight=False)
        return
    console.print(table)
    console.print(words, highlight=False)


def _targets(model: Any, processor: Any, offers: Mapping[str, tuple[str, ...]]) -> Table:
    from rich.table import Table

    from tokprune import observe
    from tokprune.bench.answering import forward_inputs, prepare
    from tokprune.bench.noise import noise_samples

    table = Table(title="Targets and the signals they offer", title_justify="left")
    for column in ("target", "tokens per image", "signal", "shape"):
        table.add_column(column)
    inputs = forward_inputs(model, prepare(model, processor, noise_samples(1)))
    for index, (target, names) in enumerate(offers.items()):
        signal = observe(model, inputs, needs=names, target=target)
        name = f"{target} (default)" if index == 0 else target
        for row, offered in enumerate(names):
            table.add_row(
                name if row == 0 else "", str(signal.token_count) if row == 0 else "", offered, _shape(signal, offered)
            )
        table.add_section()
    return table


def _shape(signal: Signal, name: str) -> str:
    value = getattr(signal, name)
    if name in _ATTENTION:
        layers = list(value)
        _, voters, tokens = layers[0].shape
        heads = layers[0].heads
        return f"{len(layers)} layers x {heads} heads, {voters // heads} voters for {tokens} tokens"
    if name == "tokens":
        return f"{value.shape[1]} vectors of {value.shape[2]}"
    if name == "grid":
        return f"{value[0]} rows, {value[1]} columns"
    return "embeddings of the prompt"


def _scorers(model: Any, offers: Mapping[str, tuple[str, ...]]) -> Table:
    from rich.table import Table

    from tokprune.bench.fitting import missing_signals

    table = Table(title="Scorers", title_justify="left")
    table.add_column("scorer", no_wrap=True)
    for target in offers:
        table.add_column(f"target '{target}'")
    by_target = [missing_signals(model, target) for target in offers]
    for name in by_target[0]:
        verdicts = [f"does not fit: no {', '.join(m[name])}" if m[name] else "fits" for m in by_target]
        table.add_row(name, *verdicts)
    return table


def _arithmetic(model: Any, text_tokens: int) -> tuple[Table, str]:
    from rich.table import Table

    from tokprune.bench.flops import FlopCounter
    from tokprune.bench.table import keep_text
    from tokprune.keep import keep_count

    table = Table(
        title=f"Arithmetic of one picture, a prompt of {text_tokens} tokens and one answer token (FLOPs)",
        title_justify="left",
    )
    columns = ("keep", "query tokens", "image encoder", "connector", "language model prefill", "all", "at most faster")
    for column in columns:
        table.add_column(column, justify="right")
    counter = FlopCounter(model, text_tokens)
    whole = counter.count()
    for keep in _KEEPS:
        kept = keep_count(keep, counter.query_tokens)
        flops = counter.count(kept)
        stages = [f"{_engineering(s)} ({s / flops.total:.0%})" for s in (flops.encoder, flops.connector, flops.prefill)]
        table.add_row(
            keep_text(keep), str(kept), *stages, _engineering(flops.total), f"{whole.total / flops.total:.2f}x"
        )
    none = counter.count(0)
    words = (
        f"Query pruning shortens the language model's prefill only: {whole.prefill / whole.total:.0%} of the "
        f"arithmetic. With no query token left the call could be {whole.total / none.total:.2f}x faster at the very "
        "most, and less with every further answer token, because those cost the same pruned or not.\n"
        "It cannot pay at batch 1 with a short greedy answer: a short prefill reads the same weights from memory as a "
        "long one, so the arithmetic is not what takes the time. It can pay with large batches, with beam search on a "
        "decoder-only language model (every beam has its own prefill), with large language models, and with several "
        "images per prompt. Measure it: python -m tokprune.bench.overhead."
    )
    return table, words


def _engineering(value: float) -> str:
    """Three digits and k, M, G or T."""
    for unit in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}T"
