"""The arithmetic of a model for a reader: where it is, what pruning can gain, and where it does not pay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from tokprune.bench.gains import Gains


def stages_table(gains: Gains) -> Table:
    """Each stage of the unpruned call: its FLOPs, and its part of them and of the time."""
    from rich.table import Table

    from tokprune.bench.costs import shares

    costs = gains.unpruned()
    table = Table(title="Where the arithmetic is", title_justify="left")
    table.add_column("stage", no_wrap=True)
    for column in ("FLOPs", "of the FLOPs", "of the time, batch 1", f"of the time, batch {gains.batch}"):
        table.add_column(column, justify="right")
    times = {batch: gains.machine.seconds(costs, batch) for batch in (1, gains.batch)}
    parts = [shares(costs.flops), *(shares(seconds) for seconds in times.values())]
    for stage, flops in costs.flops.items():
        table.add_row(stage, engineering(flops), *(f"{part[stage]:.0%}" for part in parts))
    table.add_section()
    totals = [f"{engineering(sum(seconds.values()), ' ')}s" for seconds in times.values()]
    table.add_row("all", engineering(costs.total), "", *totals)
    return table


def gains_table(gains: Gains) -> Table:
    """Each target and both together, at each keep: how many times faster the whole call could be."""
    from rich.table import Table

    from tokprune.bench.table import keep_text
    from tokprune.keep import keep_count

    arithmetic = gains.arithmetic
    table = Table(title="What pruning can gain at most: unpruned / pruned, the whole call", title_justify="left")
    table.add_column("target", no_wrap=True)
    for column in ("keep", "tokens", "by FLOPs", "by time, batch 1", f"by time, batch {gains.batch}"):
        table.add_column(column, justify="right")
    totals = arithmetic.tokens
    for gain in gains.table():
        tokens = ", ".join(f"{keep_count(gain.keep, totals[name])} of {totals[name]}" for name in gain.targets)
        values = (f"{value:.2f}x" for value in (gain.flops, gain.alone, gain.batch))
        table.add_row(" and ".join(gain.targets), keep_text(gain.keep), tokens, *values)
        if gain.keep == gains.keeps[-1]:
            table.add_section()
    return table


def call_text(gains: Gains) -> str:
    """The call that the tables are about."""
    from tokprune.bench.promptarithmetic import PromptArithmetic

    work, arithmetic = gains.workload, gains.arithmetic
    search = "greedy" if work.beams == 1 else f"{work.beams} beams"
    read = next(target for target, stage in arithmetic.stages.items() if stage == "prefill")
    tiles = arithmetic.tiles if isinstance(arithmetic, PromptArithmetic) else 1
    tiled = f" in each of {tiles} tiles" if tiles > 1 else ""
    text = (
        f"The call: one image, {arithmetic.tokens[read]} {read} tokens{tiled}, {work.text_tokens} text tokens, "
        f"{work.answer_tokens} answer tokens, {search}."
    )
    if isinstance(arithmetic, PromptArithmetic):
        inside = arithmetic.cuts(gains.after)
        where = f"after layer {inside[0]} of the language model's {arithmetic.depth}" if inside else ""
        outside = "behind the image encoder" if arithmetic.kind == "mllama" else "in front of the language model"
        return f"{text} Image tokens leave {where or outside}."
    if "image" not in gains.targets:
        return text
    layers = arithmetic.cuts(gains.after)
    steps = f"in {len(layers)} equal steps, after layers {layers[0]} to" if len(layers) > 1 else "after layer"
    return f"{text} Image tokens leave {steps} {layers[-1]} of the image encoder's {arithmetic.encoder_layers}."


def words(gains: Gains, model: str) -> str:
    """What the tables say about this model, and what they stand on."""
    rate, bandwidth = engineering(gains.machine.flop_rate, " "), engineering(gains.machine.bandwidth, " ")
    basis = (
        f"This is arithmetic, not a measurement. A run takes the longer of its FLOPs at {rate}FLOP/s and its weights "
        f"and cache, {gains.machine.bytes_per_number} bytes a number, at {bandwidth}B/s; nothing else takes time, and "
        f"pruning itself is free. To measure: tokprune speed {model}"
    )
    return "\n".join([*gains.verdicts(), basis])


def engineering(value: float, space: str = "") -> str:
    """Three digits and a unit's prefix, `space` between them.

    Example:
        >>> engineering(520.2e9), engineering(0.0147, " ") + "s"
        ('520G', '14.7 ms')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u")):
        if value >= factor:
            return f"{value / factor:.3g}{space}{prefix}"
    return f"{value / 1e-9:.3g}{space}n"
