"""Proportional attention worked out without tokprune: log(size) added to masks of a model that is handed what stays."""

import contextlib
import copy
from dataclasses import dataclass
from typing import ClassVar

import torch

from tokprune.testing.tiny_blip2 import IMAGE as QUERY
from tokprune.testing.tiny_embed import IMAGE

from .families.family import some_kept
from .keeping import keeping

IMAGES = {"query": QUERY, "image": IMAGE}
"""Target -> placeholder of its tokens in a prompt."""


@dataclass(frozen=True)
class Sized:
    """Leaves tokens as they are, and says of those that stay how many they stand for: by their place in the image."""

    removes: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True
    same: float = 0.0

    def __call__(self, tokens, kept, sizes=None):
        """Tokens, and sizes."""
        return tokens, torch.stack([size_of(kept.shape[1], self.same)] * len(kept)) * kept


def size_of(count, same=0.0):
    """How many tokens each of `count` tokens of an image stands for, if it stays."""
    return torch.full((count,), same) if same else 1.0 + (torch.arange(count) * 5 % 7).float()


def column_sizes(family, inputs, kept, same=0.0):
    """Sizes `[row column]` of the shorter prompt, row by row, token by token; 1 for text and padding.

    Prompts that are handed to a language model keep their padding where it was, others have it in front.
    """
    handed, token = family.target == "query", IMAGES[family.target]
    right = "decoder_input_ids" in inputs
    flags = iter([(bool(kept[image, i]), size) for image, n in enumerate(family.tokens) for i, size in sizes(n, same)])
    rows = []
    for words, real in zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True):
        row = []
        for place, word in enumerate(words):
            stays, size = next(flags) if word == token else (handed or real[place], 1.0)
            row += [size] if stays else []
        rows.append(row)
    longest = max(map(len, rows))
    fill = [[1.0] * (longest - len(row)) for row in rows]
    return torch.tensor([row + pad if right else pad + row for row, pad in zip(rows, fill, strict=True)])


def sizes(count, same):
    """Number and size of each token."""
    return list(enumerate(size_of(count, same).tolist()))


def attention_layers(model):
    """The attention modules of a language model that read the prompt, by the names that transformers gives them."""
    language_model = next(
        module for name, module in model.named_modules() if name.rpartition(".")[2] in ("language_model", "text_model")
    )
    found = {
        name: module
        for name, module in language_model.named_modules()
        if name.endswith((".self_attn", "SelfAttention", "EncDecAttention"))
        and not ("decoder.block" in name and "SelfAttention" in name)
    }
    assert found
    return found


@contextlib.contextmanager
def weighed_by_hand(model, columns, log=torch.log):
    """Let attention masks of a plain model in eager mode have log(size) on the columns of the prompt.

    Args:
        model: transformers' own, with nothing on it.
        columns: sizes `[row column]`.
        log: what is added for a size.
    """
    added = log(columns)

    def on_attention(module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        cache = next((kwargs[name] for name in ("cache", "past_key_values") if kwargs.get(name) is not None), None)
        name = "mask" if "mask" in kwargs else "attention_mask"
        mask, total = kwargs[name], added.shape[1]  # of an encoder, and for cross-attention
        if hasattr(module, "head_dim") or not hasattr(module, "key_value_proj_dim"):
            total = states.shape[1] + (0 if cache is None else int(cache.get_seq_length(module.layer_idx)))
        keys = total if mask is None else mask.shape[-1]
        bias = added.repeat_interleave(len(states) // len(added), dim=0)
        bias = torch.nn.functional.pad(bias, (0, max(total - bias.shape[1], 0)))
        bias = bias[:, max(total - keys, 0) :]  # a window has dropped the oldest
        bias = torch.nn.functional.pad(bias, (0, keys - bias.shape[1]))  # a static cache has room
        bias = bias[:, None, None].to(states.dtype)
        return args, {**kwargs, name: bias if mask is None else mask + bias}

    modules = attention_layers(model).values()
    hooks = [module.register_forward_pre_hook(on_attention, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def plain(model):
    """A copy of a model whose masks are those that are added to logits, in every layer."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    return eager


def told(family, counts=(3, 3), **options):
    """Which tokens stay, and a policy that keeps them and merges none, but says sizes."""
    kept = some_kept(family.tokens, [counts[image % len(counts)] for image in range(len(family.tokens))])
    policy = keeping(kept, family.tokens, reduction=Sized(), target=family.target, attention="proportional", **options)
    return kept, policy
