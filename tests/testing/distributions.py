"""Code of small distributions: one that is right, and ones that are wrong as a whole."""

RIGHT = '''
"""Two components of each kind but adapters."""

from dataclasses import dataclass
from typing import ClassVar

import torch

import tokprune
from tokprune.functional import exact_sum, merge_tokens, top_k


@dataclass(frozen=True)
class Longest:
    """The length of each token to some power."""

    power: float = 1.0

    needs: ClassVar = ("tokens",)

    def __call__(self, signal):
        yield tokprune.Votes(signal.tokens.float().norm(dim=-1)[:, None] ** self.power)

    @classmethod
    def examples(cls):
        return [cls(), cls(power=2.0)]


@dataclass(frozen=True)
class Adding:
    """All votes, added up."""

    def __call__(self, votes):
        layers = [exact_sum(layer.values, layer.weights) for layer in votes]
        if not layers:
            raise tokprune.InvalidValueError("adding: no votes")
        return torch.stack(layers).sum(dim=0)


@dataclass(frozen=True)
class Best:
    """The best tokens."""

    uniform: ClassVar = True

    def __call__(self, scores, keep):
        return top_k(scores, keep)


@dataclass(frozen=True)
class Folding:
    """Folds dropped tokens into the most similar kept ones."""

    removes: ClassVar = True
    reads_tokens: ClassVar = True

    def __call__(self, tokens, kept, sizes=None):
        return merge_tokens(tokens, kept, sizes)


@tokprune.hookimpl
def register_scorers():
    return {"longest": Longest}


@tokprune.hookimpl
def register_aggregators():
    return {"adding": Adding}


@tokprune.hookimpl
def register_selectors():
    return {"best": Best}


@tokprune.hookimpl
def register_reductions():
    return {"folding": Folding}
'''

BATCH_WIDE = RIGHT.replace(
    "signal.tokens.float().norm(dim=-1)[:, None]",
    "(signal.tokens.float().norm(dim=-1) / signal.tokens.float().norm(dim=-1).max().clamp(min=1e-6))[:, None]",
)
"""A scorer that divides by the largest norm of the batch."""

NEEDS_OPTIONS = RIGHT.replace("power: float = 1.0", "power: float").replace("    @classmethod", "    @property")
"""A scorer that cannot be made without an option, and whose examples are no class method."""

NO_EXAMPLES = NEEDS_OPTIONS.replace("def examples(cls):", "def other(cls):")
"""A scorer that cannot be made without an option, and gives no examples."""

SILENT = RIGHT.replace('    """The length of each token to some power."""\n', "")
"""A scorer without documentation."""

FORGETS_OPTION = RIGHT.replace(
    "    power: float = 1.0\n", "    power: float = 1.0\n\n    def __init__(self, power=1.0):\n        pass\n"
)
"""A scorer whose option is lost."""

DOUBLES = RIGHT.replace(
    "    @classmethod",
    "    def __post_init__(self):\n        object.__setattr__(self, 'power', self.power * 2)\n\n    @classmethod",
)
"""A scorer that makes something else of its option each time it is made."""

UNKNOWN_RULE = RIGHT.replace(
    '    needs: ClassVar = ("tokens",)\n', '    needs: ClassVar = ("tokens",)\n    aggregator = "summ"\n'
)
"""A scorer that asks for a voting rule that there is not."""

WITHOUT_EXAMPLE = '''
import tokprune
from tokprune.adapters import Blip2


class Mine(Blip2):
    """An adapter that brings no model to try it on."""


@tokprune.hookimpl
def register_adapters():
    return {"mine": Mine}
'''

WITH_EXAMPLE = WITHOUT_EXAMPLE.replace(
    '''try it on."""
''',
    '''try it on."""

    @staticmethod
    def example():
        from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

        return tiny_blip2("t5"), {**prompts("t5", pads=(0, 0)), "decoder_input_ids": prompts("t5")["input_ids"][:, -2:]}
''',
)
NOTHING = """
import tokprune


@tokprune.hookimpl
def register_scorers():
    return {}
"""
