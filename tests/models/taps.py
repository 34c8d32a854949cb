"""What taps are tested with: something that observes and weighs, and small language models of several kinds."""

from contextlib import contextmanager
from functools import cache

import torch

from tokprune.adapters.sizes import Sizes
from tokprune.adapters.tap import Tap, reaches


class Observer:
    """Notes what it is shown, and weighs keys if it has `sizes` `[row key]`; `total` columns are there by now."""

    def __init__(self, sizes=None):
        self.seen, self.sizes, self.total = [], sizes, None

    def see(self, name, seen):
        """Note a call."""
        self.seen.append((name, seen))

    def weigh(self, name, seen):
        """Logarithms of the sizes."""
        return None if self.sizes is None else Sizes(self.sizes).logs(seen, self.total)

    @property
    def names(self):
        """The modules that were seen."""
        return {name for name, _ in self.seen}


def reached(model):
    """The modules that a tap reaches, by path."""
    return {name: module for name, module in model.named_modules() if reaches(module)}


def taps_of(model, observer, **what):
    """A tap for each module; it observes only, unless `what` says more."""
    return [
        Tap(module, first=(name,), **(what or {"observe": observer.see})) for name, module in reached(model).items()
    ]


@contextmanager
def tapped(model, observer, **what):
    """Taps on all modules that can have one."""
    taps = taps_of(model, observer, **what)
    for tap in taps:
        tap.install()
    try:
        yield observer
    finally:
        for tap in taps:
            tap.remove()


def weighed(model, sizes):
    """A model whose columns have sizes."""
    observer = Observer(sizes)
    return tapped(model, observer, weigh=observer.weigh)


WINDOW = 4
DIMS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}


@cache
def small(kind):
    """A language model with two layers; a test must leave it as it came."""
    import transformers

    gqa = {"intermediate_size": 64, "num_key_value_heads": 2, **DIMS}
    options = {
        "Llama": gqa,
        "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0, **DIMS},
        "Mistral": {"sliding_window": WINDOW, **gqa},
        "Gemma2": {"sliding_window": WINDOW, "head_dim": 8, "query_pre_attn_scalar": 8, **gqa},
        "Gemma3Text": {"sliding_window": WINDOW, "head_dim": 8, "query_pre_attn_scalar": 8, **gqa},
    }[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options)
    model = getattr(transformers, f"{kind}Model")(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "embed" not in name:
            parameter.mul_(4)
    return model


def windows(model):
    """The window of each layer's attention; None where it has none."""
    general = getattr(model.config, "sliding_window", None)
    return [getattr(module, "sliding_window", general) for module in reached(model).values()]
