"""Inside a decoder that cross-attends, a merged token counts in later layers for as many tokens as it stands for."""

import contextlib
import inspect

import pytest
import torch

import tokprune
from tokprune.adapters.upstream import CROSSED, CROSSED_MASKS

from .families import crossattention, idefics, mllama
from .families.family import assert_same

FAMILIES = [
    (next(each for each in module.FAMILIES if each.name == name), paths)
    for module, name, paths in (
        (crossattention, "blip captions inside the decoder", crossattention.CAPTIONS[1:]),
        (crossattention, "whisper inside the decoder", crossattention.WHISPER[1:]),
        (crossattention, "vit and gpt-2 inside the decoder", crossattention.GPT2[1:]),
        (mllama, "mllama inside the language model", mllama.LAYERS[1:]),
        (idefics, "idefics inside the decoder", idefics.LAYERS[1:]),
    )
]
KEEP = {"scorer": "l2-norm", "keep": 0.5, "reduction": "merge"}


def argument(kwargs, names):
    """The name by which an argument came, and its value."""
    return next(((name, kwargs[name]) for name in names if name in kwargs), (names[-1], None))


class ByHand:
    """The unpruned model whose cross-attention at `paths` reads merged tokens at full width, with an additive mask."""

    def __init__(self, model, paths, merged, kept, sizes, protected):
        self.modules, self.merged = [model.get_submodule(path) for path in paths], merged
        rows = len(merged)
        self.dropped = torch.nn.functional.pad(~kept, (protected, 0)).view(rows, -1)
        weights = sizes.masked_fill(~kept, 1.0).log()
        self.weights = torch.nn.functional.pad(weights, (protected, 0)).view(rows, -1)

    def read(self, module, args, kwargs):
        """The hook."""
        rows, text = (args[0] if args else kwargs["hidden_states"]).shape[:2]
        copies = rows // len(self.merged)
        dropped, weights, merged = (
            each.repeat_interleave(copies, dim=0) for each in (self.dropped, self.weights, self.merged)
        )
        (name, states), mask_name = argument(kwargs, CROSSED), self.mask_of(module)
        mask = kwargs.get(mask_name)
        kwargs = dict(kwargs)
        if states is not None:
            whole = states.reshape(rows, -1, states.shape[-1])
            kwargs[name] = whole.masked_scatter(~dropped[..., None], merged).view(states.shape)
        mask = torch.zeros(rows, 1, text, dropped.shape[1]) if mask is None else mask
        mask = mask + weights[:, None, None]
        kwargs[mask_name] = mask.masked_fill(dropped[:, None, None], torch.finfo(mask.dtype).min)
        return args, kwargs

    @staticmethod
    def mask_of(module):
        """What a module calls its mask."""
        names = inspect.signature(module.forward).parameters
        return next(name for name in CROSSED_MASKS if name in names)

    def __enter__(self):
        self.hooks = [each.register_forward_pre_hook(self.read, with_kwargs=True) for each in self.modules]

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


@pytest.mark.parametrize(("family", "paths"), FAMILIES, ids=lambda each: getattr(each, "name", ""))
def test_later_layers_weigh_merged_tokens_in_every_step(family, paths):
    model, inputs, read = family.build(), family.inputs(), []
    with tokprune.apply(model, target=family.target, **KEEP, **family.options) as handle:
        new = {mode: family.generate(model, inputs, mode) for mode in ("greedy", "beams")}
        hook = model.get_submodule(paths[0]).register_forward_pre_hook(
            lambda _, args, kwargs: read.append(argument(kwargs, CROSSED)[1]), with_kwargs=True
        )
        found, report = family.answer(model, inputs), handle.report
        hook.remove()
    with tokprune.apply(model, target=family.target, attention="plain", **KEEP, **family.options):
        assert (family.answer(model, inputs) - found).abs().max() > 1e-3
    merged = next(each for each in read if each is not None)
    rows = len(merged)
    protected = (merged.shape[1] * rows - int(report.kept.sum())) // len(report.kept)
    with ByHand(model, paths, merged, report.kept, report.sizes, protected):
        assert_same(found, family.answer(model, inputs), 2e-5)
        for mode, tokens in new.items():
            assert torch.equal(family.generate(model, inputs, mode), tokens), mode


def test_removing_leaves_no_tap():
    family, paths = FAMILIES[1]
    model = family.build()
    config = model.get_submodule(paths[0]).config
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.enter_context(tokprune.apply(model, target=family.target, **KEEP, **family.options))
        assert model.get_submodule(paths[0]).config is not config
    assert model.get_submodule(paths[0]).config is config
