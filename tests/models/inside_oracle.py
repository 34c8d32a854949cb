"""A LLaVA in which image tokens are hidden from some layer on, by masks and nothing else: no hooks, nothing shorter."""

import contextlib

import torch

from tokprune.adapters.upstream import cache_in
from tokprune.testing.tiny_inside import IMAGE


@contextlib.contextmanager
def hiding(model, inputs, kept, after=2):
    """Within, dropped image tokens are seen by nobody but themselves in the layers behind the first `after`."""
    hidden = inputs["input_ids"] == IMAGE
    hidden = hidden.masked_scatter(hidden, ~torch.cat(list(kept)))
    layers = model.model.language_model.layers[after:]
    for layer in layers:
        layer.forward = _Hiding(layer, hidden)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class _Hiding:
    def __init__(self, layer, hidden):
        self.layer, self.hidden, self.original = layer, hidden, type(layer).forward

    def __call__(self, states, attention_mask=None, **options):
        cache, (rows, queries) = cache_in(options), states.shape[:2]
        past = 0 if cache is None else cache.get_seq_length(self.layer.self_attn.layer_idx)
        own = torch.arange(past, past + queries)
        if attention_mask is None:
            attention_mask = (torch.arange(past + queries) <= own[:, None])[None, None]
        elif attention_mask.dtype != torch.bool:
            attention_mask = attention_mask == 0
        hidden = self.hidden.repeat_interleave(rows // len(self.hidden), dim=0)
        hidden = torch.nn.functional.pad(hidden, (0, past + queries - hidden.shape[1]))
        others = own[:, None] != torch.arange(past + queries)
        allowed = attention_mask & ~(hidden[:, None, None] & others)
        if self.layer.self_attn.config._attn_implementation == "eager":
            allowed = torch.zeros(allowed.shape, dtype=states.dtype).masked_fill(
                ~allowed, torch.finfo(states.dtype).min
            )
        return self.original(self.layer, states, attention_mask=allowed, **options)


@torch.no_grad()
def logits(model, inputs, kept, after=2, **options):
    """Logits; those of a dropped token are those of the last token before it that stayed, those of padding NaN."""
    with hiding(model, inputs, kept, after):
        found = model(**inputs, **options).logits
    return filled(inputs, kept, found)


def filled(inputs, kept, found):
    """The same, of logits `[row sequence ...]`."""
    found, dropped = found.clone(), iter((~torch.cat(list(kept))).tolist())
    for row, ids in enumerate(inputs["input_ids"].tolist()):
        for place, token in enumerate(ids):
            if token == IMAGE and next(dropped):
                found[row, place] = found[row, place - 1]
            elif not inputs.get("attention_mask", torch.ones(len(inputs["input_ids"]), 999))[row, place]:
                found[row, place] = float("nan")
    return found


@torch.no_grad()
def generated(model, inputs, kept, options, after=2):
    """New tokens."""
    torch.manual_seed(7)
    with hiding(model, inputs, kept, after):
        found = model.generate(**inputs, **options)
    return found[:, inputs["input_ids"].shape[1] :]
