"""What counts as a model's answer."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch

from tokprune.errors import InvalidValueError
from tokprune.outputs import answer_of

LOSS, LOGITS, IMAGES, STATES = torch.tensor(1.0), torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2, 5, 4)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (LOGITS, LOGITS),
        ((LOGITS, STATES), LOGITS),
        ((None, LOGITS), LOGITS),
        (OrderedDict(loss=LOSS, last_hidden_state=STATES, logits=LOGITS), LOGITS),
        (OrderedDict(last_hidden_state=STATES, logits_per_image=IMAGES), IMAGES),
        (OrderedDict(loss=None, pooled=IMAGES), IMAGES),
        (SimpleNamespace(last_hidden_state=STATES), STATES),
    ],
)
def test_the_answer_is_the_logits_or_what_comes_next_to_them(output, expected):
    assert answer_of(output) is expected


@pytest.mark.parametrize("output", [(), {}, {"logits": None}, ("text",)])
def test_an_output_without_a_tensor_is_refused(output):
    with pytest.raises(InvalidValueError, match="expected a tensor in the model's output"):
        answer_of(output)
