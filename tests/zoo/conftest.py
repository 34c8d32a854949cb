"""The bundled model, loaded once; one thread, because small tensors on few cores are faster so."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tokprune.zoo import load_model


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def bundled() -> tuple[Any, Any]:
    return load_model("blip2-shapes")
