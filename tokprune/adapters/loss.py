"""The loss of a shortened sequence, for models that compare logits and labels outside the language model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tokprune.adapters.calls import Call

IGNORED = -100
"""Label that takes no part in the loss."""


def shorter_loss(model: nn.Module, output: Any, call: Call) -> Any:
    """`output` with the loss that the model computes itself when fed the shorter sequence and its labels.

    Labels follow their tokens. Labels that cover only the last positions of the prompt keep covering them.
    """
    outer: Any = model
    logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
    labels = call.labels.to(logits.device) if call.labels is not None else None
    if labels is None:
        return output
    if call.label_rows is not None:
        covered = labels.shape[1]
        missing = call.label_rows.before - covered
        labels = nn.functional.pad(labels, (missing, 0), value=IGNORED)
        if missing:
            labels[:, missing] = IGNORED  # the first label was never predicted: nothing came before it
        labels = call.label_rows.take(labels, IGNORED)
        if call.label_rows.valid is not None:  # the same holds for a row that padding was put in front of
            first = call.label_rows.valid.to(labels.device).long().argmax(dim=1, keepdim=True)
            labels.scatter_(1, first, IGNORED)
        if call.rows is None:  # tokens were hidden, not removed
            logits = call.label_rows.take(logits, 0.0)
    logits = logits[:, -labels.shape[1] :]
    loss = outer.loss_function(
        logits=logits, labels=labels, vocab_size=outer.config.text_config.vocab_size, **call.loss_options
    )
    if isinstance(output, tuple):
        return (loss, *output)
    fields = {name: value for name, value in output.items() if name != "loss"}
    return type(output)(loss=loss, **fields)
