"""Where the fused kernels run: in Triton's interpreter, and on a CUDA device if there is one."""

import importlib.util

import pytest
import torch

from .worker import Interpreter


@pytest.fixture(scope="session")
def interpreter():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    running = Interpreter()
    yield running
    running.close()


def on_cuda(name, *args, **options):
    """The same call as of an interpreter, on the device."""
    from tokprune import kernels

    def moved(value):
        return value.cuda() if isinstance(value, torch.Tensor) else value

    with kernels.record_backends() as ran:
        options = {key: moved(value) for key, value in options.items()}
        result = getattr(kernels, name)(*map(moved, args), **options, backend="triton")
    return result.cpu(), ran


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def fused(request):
    """Call a function of `tokprune.kernels` with backend "triton": result, and the backends that ran."""
    if request.param == "interpreter":
        return request.getfixturevalue("interpreter")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return on_cuda
