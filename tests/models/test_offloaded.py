"""Weights that are elsewhere until a module is called: features that are computed early find them."""

import copy

import pytest
import torch
from accelerate import cpu_offload

from .families.every import FAMILIES
from .test_families import applied, lent

BY_NAME = {str(family): family for family in FAMILIES}
OFFLOADED = [
    "llava",
    "llava, inside the language model",
    "llava-next",
    "llava-onevision",
    "paligemma",
    "qwen2-vl",
    "blip2 with opt, query tokens",
    "whisper",
    "clip",
]
"""One of each mechanism, and those whose own method needs weights of its own; unpruned, Mllama cannot be offloaded."""


@pytest.mark.parametrize("name", OFFLOADED)
@pytest.mark.parametrize("policy_first", [True, False])
def test_offloaded_models_are_pruned(name, policy_first):
    family = BY_NAME[name]
    model, inputs = copy.deepcopy(lent(family)), family.inputs()
    with applied(lent(family), family, scorer="first", keep=2):
        expected = family.answer(lent(family), inputs)
    if not policy_first:
        cpu_offload(model, execution_device=torch.device("cpu"))
    with applied(model, family, scorer="first", keep=2) as handle:
        if policy_first:
            cpu_offload(model, execution_device=torch.device("cpu"))
        assert torch.allclose(family.answer(model, inputs), expected, atol=1e-6)
        assert handle.report is not None
        if name.startswith(("llava", "paligemma", "qwen")):  # the others cannot generate then, unpruned either
            family.generate(model, inputs, "greedy", count=2)
    assert all(each.is_meta for each in model.parameters())


@pytest.fixture
def mesh():
    """One process that shards."""
    from torch.distributed.device_mesh import init_device_mesh

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["llava", "llava-next", "mllama"])
@pytest.mark.parametrize("layers", [True, False])
def test_sharded_models_are_pruned(name, layers, mesh):
    from torch.distributed.fsdp import fully_shard

    family = BY_NAME[name]
    model, inputs = copy.deepcopy(lent(family)), family.inputs()
    with applied(lent(family), family, scorer="first", keep=2):
        expected = family.answer(lent(family), inputs)
    for module in reversed(list(model.modules())):
        if layers and type(module).__name__.endswith("Layer"):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    with applied(model, family, scorer="first", keep=2) as handle:
        assert torch.allclose(family.answer(model, inputs), expected, atol=1e-6)
        assert handle.report is not None
        family.generate(model, inputs, "greedy", count=2)
