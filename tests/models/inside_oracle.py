"""A LLaVA in which image tokens are hidden from some layer on, by masks and nothing else: no hooks, nothing shorter."""

import contextlib

import torch

from tokprune.adapters.upstream import cache_in
from tokprune.testing.tiny_blip2 import IMAGE as QUERY
from tokprune.testing.tiny_inside import IMAGE


@contextlib.contextmanager
def hiding(model, inputs, kept, after=2):
    """Within, dropped image tokens are seen by no token but themselves in the layers after the first `after`."""
    hidden = image_tokens(inputs)
    hidden = hidden.masked_scatter(hidden, ~torch.cat(list(kept)))
    if model.config.get_text_config().is_encoder_decoder:
        encoder = model.language_model.get_encoder()
        hiders = [(layer, _HidingInEncoder(layer, hidden)) for layer in encoder.block[after:]]
        decoder = model.language_model.get_decoder()
        hiders.append((decoder, _HidingFromDecoder(decoder, hidden)))
    else:
        decoder = getattr(model, "language_model", model).get_decoder()
        layers = getattr(decoder, "decoder", decoder).layers[after:]
        hiders = [(layer, _Hiding(layer, hidden)) for layer in layers]
    for module, hider in hiders:
        module.forward = hider
    try:
        yield
    finally:
        for module, _ in hiders:
            del module.forward


def image_tokens(inputs):
    """Where they stand in the prompts, bool `[row sequence]`."""
    return (inputs["input_ids"] == IMAGE) | (inputs["input_ids"] == QUERY)


class _HidingInEncoder:
    def __init__(self, layer, hidden):
        self.layer, self.hidden, self.original = layer, hidden, type(layer).forward

    def __call__(self, states, mask, *args, **options):
        length = states.shape[1]
        allowed = torch.ones(len(states), 1, length, length, dtype=torch.bool) if mask is None else mask
        own = torch.eye(length, dtype=torch.bool)
        return self.original(self.layer, states, allowed & (own | ~self.hidden[:, None, None]), *args, **options)


class _HidingFromDecoder:
    def __init__(self, decoder, hidden):
        self.decoder, self.hidden, self.original = decoder, hidden, type(decoder).forward

    def __call__(self, *args, encoder_attention_mask=None, **options):
        hidden = self.hidden.repeat_interleave(len(encoder_attention_mask) // len(self.hidden), dim=0)
        return self.original(
            self.decoder, *args, encoder_attention_mask=encoder_attention_mask.masked_fill(hidden, 0), **options
        )


class _Hiding:
    def __init__(self, layer, hidden):
        self.layer, self.hidden, self.original = layer, hidden, type(layer).forward

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
        if self.layer.self_attn.config._attn_implementation == "eager":
            allowed = torch.zeros(allowed.shape, dtype=states.dtype).masked_fill(
                ~allowed, torch.finfo(states.dtype).min
            )
        return self.original(self.layer, states, attention_mask=allowed, **options)

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
