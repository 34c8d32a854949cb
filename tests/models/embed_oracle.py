"""What a pruned model that merges image tokens must do: the same model, handed embeddings shortened by hand."""

import contextlib

import torch

from tokprune.testing.tiny_embed import IMAGE

from .aligned import aligned, without_padding


def flat_features(model, inputs):
    """All image tokens of a call one after the other `[token dim]`, as the model itself makes them."""
    names = [name for name in inputs if name.startswith(("pixel", "image"))]
    with torch.no_grad():
        pooled = model.model.get_image_features(
            **{name: inputs[name] for name in names}, return_dict=True
        ).pooler_output
    parts = [pooled] if isinstance(pooled, torch.Tensor) else pooled
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])


def flat_kept(kept, tokens):
    """`kept` (bool `[image token]`) of images with so many tokens, one after the other."""
    return [bool(kept[image, token]) for image, total in enumerate(tokens) for token in range(total)]


def stays(inputs, flags):
    """For each row, which positions stay: real tokens, without the placeholders of dropped image tokens."""
    flags, rows = iter(flags), []
    for words, real in zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True):
        rows.append([i for i, word in enumerate(words) if (next(flags) if word == IMAGE else real[i])])
    return rows


def gather(values, rows, fill=0):
    """The positions that stay of `values` `[row sequence ...]`, padded in front."""
    longest = max(map(len, rows))
    taken = values.new_full((len(rows), longest, *values.shape[2:]), fill)
    for index, row in enumerate(rows):
        taken[index, longest - len(row) :] = values[index, row]
    return taken


def full_embeddings(model, inputs, features=None):
    """The unpruned prompt's embeddings with the image tokens filled in."""
    features = flat_features(model, inputs) if features is None else features
    ids = inputs["input_ids"]
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(ids.where(ids != IMAGE, torch.tensor(0))).clone()
    embeddings[ids == IMAGE] = features.to(embeddings.dtype)
    return embeddings


def hand_fed(model, inputs, kept, tokens, positions="compact", features=None, generating=False):
    """Arguments of the same model without any image."""
    rows = stays(inputs, flat_kept(kept, tokens))
    fed = {"inputs_embeds": gather(full_embeddings(model, inputs, features), rows)}
    for name, value in inputs.items():
        if name != "input_ids" and value.shape == inputs["input_ids"].shape:
            fed[name] = gather(value, rows, -100 if name == "labels" else 0)
    if positions == "preserve":
        mask = inputs["attention_mask"]
        own = (mask.cumsum(1) - 1).clamp(min=0) if generating else torch.arange(mask.shape[1]).expand_as(mask)
        fed["position_ids"] = gather(own, rows)
    return fed


def oracle_logits(model, inputs, kept, tokens, **options):
    """Logits of the shorter prompt for each position of the whole one, NaN at padding."""
    return of_whole(model, inputs, kept, tokens, hand_fed(model, inputs, kept, tokens, **options))


def of_whole(model, inputs, kept, tokens, fed):
    """The same of the shorter prompt `fed`."""
    with torch.no_grad():
        logits = model(**fed).logits
    mask = inputs["attention_mask"]
    return without_padding(aligned(logits, stays(inputs, flat_kept(kept, tokens)), mask.shape[1]), mask)


def oracle_new_tokens(model, inputs, kept, tokens, options, **more):
    """New tokens after the shorter prompt."""
    fed = hand_fed(model, inputs, kept, tokens, generating=True, **more)
    torch.manual_seed(7)
    with torch.no_grad(), _takes_embeddings(model):
        return model.generate(**fed, **options)


@contextlib.contextmanager
def _takes_embeddings(model):
    """Let `generate` pass embeddings on: PaliGemma and Gemma 3 can, but their signatures do not say so."""

    def prepare(input_ids, inputs_embeds=None, **kwargs):
        return type(model).prepare_inputs_for_generation(model, input_ids, inputs_embeds=inputs_embeds, **kwargs)

    model.__dict__["prepare_inputs_for_generation"] = prepare
    yield
    del model.__dict__["prepare_inputs_for_generation"]
