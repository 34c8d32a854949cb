"""A scorer that reads the question is judged rightly: by its own faults, and not by the kit's."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from tokprune import Votes
from tokprune.testing import check_scorer


@dataclass(frozen=True)
class LikeTheQuestion:
    """How much a token is like the mean of the question's real tokens."""

    needs: ClassVar = ("tokens", "text")
    aggregator: ClassVar = "sum"

    def __call__(self, signal):
        mask = self.mask(signal)[..., None]
        words = torch.where(mask, signal.text.embeddings.float(), 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        yield Votes(torch.einsum("btd,bd->bt", signal.tokens.float(), words)[:, None])

    def mask(self, signal):
        return signal.text.mask


class LikeItAtHome(LikeTheQuestion):
    """Makes its mask on the CPU, wherever it is called."""

    def mask(self, signal):
        return torch.ones(signal.text.embeddings.shape[:2], dtype=torch.bool)


def test_a_scorer_that_reads_the_question_keeps_every_law():
    check_scorer(LikeTheQuestion())


def test_one_that_mixes_devices_is_caught():
    with pytest.raises(AssertionError, match="on the device that the signal is on"):
        check_scorer(LikeItAtHome())
