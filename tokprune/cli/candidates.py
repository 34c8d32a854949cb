"""`tokprune inspect` of a model without an adapter: which attention could vote, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

_HOW_TO = "docs/how-to/add-your-model.md"


def candidates(model: Any) -> Iterator[Table | str]:
    """A table of the attention modules of `model`, and in words what to do with them."""
    from rich.table import Table

    from tokprune import inspect_attention

    stacks = inspect_attention(model)
    if not stacks:
        yield (
            "No attention was found: no module has projections with known names. An adapter of your own can say where "
            f"they are: {_HOW_TO}"
        )
        return
    table = Table(title="Attention that could vote", title_justify="left")
    for column in ("modules", "layers", "heads", "projections", "kind", "but"):
        table.add_column(column, overflow="fold")
    for stack in stacks:
        heads = "unknown" if stack.heads is None else str(stack.heads)
        projections = ", ".join(stack.projections) or "none"
        table.add_row(stack.path, str(stack.layers), heads, projections, stack.kind, "; ".join(stack.notes))
    yield table
    calls = [stack.call for stack in stacks if stack.call]
    if calls:
        yield "To cut tokens between the layers of one of these, with tokprune.apply(model, adapter=...):"
        yield from calls
        yield f"Protected tokens in front ([CLS]) are given as protected=1. Then handle.check proves it: {_HOW_TO}"
    else:
        yield f"None of these can be used by paths alone. An adapter of your own can use them: {_HOW_TO}"
