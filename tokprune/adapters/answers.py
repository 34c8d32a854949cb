"""The answer to a shortened prompt, as its caller knows the prompt: logits for every position, labels, and the loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.rows import Rows
from tokprune.adapters.upstream import own_loss
from tokprune.errors import UnsupportedCallError


@dataclass(frozen=True, eq=False)
class Asked:
    """What a forward is asked about a prompt that is about to become shorter.

    Attributes:
        labels: of the caller's prompt `[row sequence]`, or of its last positions only; None without a loss.
        options: what else the loss is computed with, such as `num_items_in_batch`.
        last: for how many of the last positions logits are wanted; None for all.
    """

    labels: Tensor | None
    options: Mapping[str, Any]
    last: int | None

    @classmethod
    def of(cls, model: nn.Module, arguments: Mapping[str, Any]) -> tuple[Asked, dict[str, Any]]:
        """What the arguments of a forward ask, and the arguments without labels: they fit the whole prompt only.

        Raises:
            UnsupportedCallError: logits are wanted at places that are named by their numbers.
        """
        last = arguments.get("logits_to_keep")
        if isinstance(last, Tensor):
            raise UnsupportedCallError(
                "logits_to_keep names places of the whole prompt, which is shortened; give a number of last tokens "
                "instead"
            )
        left = dict(arguments)
        labels = left.pop("labels", None)
        names = inspect.signature(model.forward).parameters
        return cls(labels, {k: v for k, v in left.items() if k not in names}, last or None), left

    def answered(self, model: nn.Module, output: Any, shown: Rows | None) -> Any:
        """What the model gave, with logits for the caller's prompt, and with the model's own loss of those.

        Args:
            model: whose answer it is.
            output: what it gave; None if it failed.
            shown: what stands for the prompt's positions; None if all of them do for themselves.
        """
        if output is None or (shown is None and self.labels is None):
            return None
        logits = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
        if logits is None:
            return self._without_logits(model)
        if shown is not None:
            logits = shown.restored(logits, self.last)
        loss = None
        if self.labels is not None:
            labels = self.labels.to(logits.device)
            loss = own_loss(model, logits[:, -labels.shape[1] :].contiguous(), labels, self.options)
        if isinstance(output, tuple):
            return (*(() if loss is None else (loss,)), logits, *output[1:])
        return type(output)(**{**output, "logits": logits, "loss": loss})

    def _without_logits(self, model: nn.Module) -> None:
        if self.labels is not None:
            raise UnsupportedCallError(
                f"labels came, and a {type(model).__name__} gives no logits to compare them with; leave them out"
            )
