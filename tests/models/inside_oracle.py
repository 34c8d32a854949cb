"""A LLaVA in which image tokens are hidden from some layer on, by masks and nothing else: no hooks, nothing shorter."""

import contextlib

import torch

from tokprune.adapters.upstream import cache_in
from tokprune.testing.tiny_blip2 import IMAGE as QUERY
from tokprune.testing.tiny_inside import IMAGE


@contextlib.contextmanager
def hiding(model, inputs, kept, after=2, sizes=None, merged=None, until=None):
    """Within, dropped image tokens are seen by no token but themselves in the layers after the first `after`.

    There, kept ones become `merged` (`[token dim]`, in order), and each counts as `sizes` (`[image token]`) say.
    """
    hidden = image_tokens(inputs)
    hidden = hidden.masked_scatter(hidden, ~torch.cat(list(kept)))
    stays, weights = image_tokens(inputs) & ~hidden, torch.zeros(hidden.shape)
    if sizes is not None:
        weights = weights.masked_scatter(stays, sizes[sizes > 0].log())
    if model.config.get_text_config().is_encoder_decoder:
        encoder = model.language_model.get_encoder()
        layers, decoder = encoder.block[after:until], model.language_model.get_decoder()
        crossing = [block.layer[1].EncDecAttention for block in decoder.block] if until is None else []
        hider = _HidingInEncoder
    else:
        decoder = getattr(model, "language_model", model).get_decoder()
        layers, crossing, hider = getattr(decoder, "decoder", decoder).layers[after:until], [], _Hiding
    before = [(module, vars(module).get("forward")) for module in (*layers, *crossing)]
    if sizes is not None:
        layers[0].forward = _Merging(layers[0], stays, merged)
    for layer in layers:
        layer.forward = hider(layer, hidden, weights)
    for attention in crossing:
        attention.forward = _HidingFromDecoder(attention, hidden, weights)
    try:
        yield
    finally:
        for module, forward in before:
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def image_tokens(inputs):
    """Where they stand in the prompts, bool `[row sequence]`."""
    return (inputs["input_ids"] == IMAGE) | (inputs["input_ids"] == QUERY)


class _Merging:
    """The first of those layers, given merged tokens."""

    def __init__(self, layer, stays, merged):
        self.layer, self.stays, self.merged, self.original = layer, stays, merged, type(layer).forward

    def __call__(self, states, *args, **options):
        if states.shape[1] == self.stays.shape[1]:
            copies = len(states) // len(self.stays)
            merged = self.merged.view(len(self.stays), -1, states.shape[-1]).repeat_interleave(copies, dim=0)
            states = states.masked_scatter(self.stays.repeat_interleave(copies, dim=0)[..., None], merged)
        return self.original(self.layer, states, *args, **options)


class _HidingInEncoder:
    def __init__(self, layer, hidden, weights):
        self.hidden, self.weights = hidden, weights
        self.original = vars(layer).get("forward", type(layer).forward.__get__(layer))

    def __call__(self, states, mask, *args, **options):
        length = states.shape[1]
        allowed = torch.ones(len(states), 1, length, length, dtype=torch.bool) if mask is None else mask
        allowed = allowed > torch.finfo(allowed.dtype).min / 2 if allowed.is_floating_point() else allowed
        own = torch.eye(length, dtype=torch.bool)
        allowed = allowed & (own | ~self.hidden[:, None, None])
        weights = self.weights[:, None, None].expand(allowed.shape)
        return self.original(states, torch.where(allowed, weights, torch.finfo(weights.dtype).min), *args, **options)


class _HidingFromDecoder:
    def __init__(self, attention, hidden, weights):
        self.original = vars(attention).get("forward", type(attention).forward.__get__(attention))
        self.added = weights.masked_fill(hidden, torch.finfo(weights.dtype).min)

    def __call__(self, states, mask=None, **options):
        added = self.added.repeat_interleave(len(states) // len(self.added), dim=0)[:, None, None]
        if mask is not None:
            added = added + mask if mask.is_floating_point() else torch.where(mask, added, torch.finfo(added.dtype).min)
        return self.original(states, mask=added, **options)


class _Hiding:
    def __init__(self, layer, hidden, weights):
        self.layer, self.hidden, self.weights = layer, hidden, weights
        self.original = vars(layer).get("forward", type(layer).forward.__get__(layer))

    def __call__(self, states, attention_mask=None, **options):
        cache, (rows, queries) = cache_in(options), states.shape[:2]
        past = 0 if cache is None else cache.get_seq_length(self.layer.self_attn.layer_idx)
        own = torch.arange(past, past + queries)
        seen = torch.arange(past + queries)  # a window may leave only the last of them
        if attention_mask is not None:
            seen = seen[-attention_mask.shape[-1] :]
        elif cache is not None:
            seen = seen[-self._remembered(cache) - queries :]
        if attention_mask is None:
            attention_mask = (seen <= own[:, None])[None, None]
        elif attention_mask.dtype != torch.bool:
            attention_mask = attention_mask == 0
        hidden = self.hidden.repeat_interleave(rows // len(self.hidden), dim=0)
        hidden = torch.nn.functional.pad(hidden, (0, past + queries - hidden.shape[1]))
        allowed = attention_mask & ~(hidden[:, None, None, seen] & (own[:, None] != seen))
        if self.layer.self_attn.config._attn_implementation == "eager" or self.weights.any():
            weights = self.weights.repeat_interleave(rows // len(self.weights), dim=0)
            weights = torch.nn.functional.pad(weights, (0, past + queries - weights.shape[1]))[:, None, None, seen]
            lowest = torch.finfo(states.dtype).min
            allowed = torch.where(allowed, weights.to(states.dtype), lowest)
        return self.original(states, attention_mask=allowed, **options)

    def _remembered(self, cache):
        number = self.layer.self_attn.layer_idx
        keys = cache.layers[number].keys if number < len(cache.layers) else None
        return 0 if keys is None else keys.shape[-2]


@torch.no_grad()
def logits(model, inputs, kept, after=2, **options):
    """Logits; those of a dropped token are those of the last token before it that stayed, those of padding NaN."""
    with hiding(model, inputs, kept, after):
        found = model(**inputs, **options).logits
    return filled(inputs, kept, found)


def filled(inputs, kept, found):
    """The same, of logits `[row sequence ...]`."""
    found, dropped = found.clone(), iter((~torch.cat(list(kept))).tolist())
    if found.shape[:2] != inputs["input_ids"].shape:
        return found  # those of a decoder
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).tolist()
    for row, ids in enumerate(inputs["input_ids"].tolist()):
        stays = [not (token in (IMAGE, QUERY) and next(dropped)) for token in ids]
        latest = stays.index(True)  # what stands for tokens that left in front of all others
        for place, stayed in enumerate(stays):
            latest = place if stayed else latest
            found[row, place] = found[row, latest] if real[row][place] else float("nan")
    return found


@torch.no_grad()
def generated(model, inputs, kept, options, after=2):
    """New tokens."""
    torch.manual_seed(7)
    with hiding(model, inputs, kept, after):
        found = model.generate(**inputs, **options)
    return found[:, inputs["input_ids"].shape[1] :]
