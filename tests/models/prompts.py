"""Inputs as BLIP-2's processor lays them out: image placeholders, then left padding, then the text."""

import torch

from .tiny_blip2 import IMAGE, PAD, QUERIES

BOS, TEXT = 2, 6


def prompts(kind="opt", images=(1, 1), pads=(0, 3), seed=1, lead=0):
    """One row per entry of `images` (how many it has); row i starts its text after `pads[i]` padding tokens.

    Rows with fewer images than others are filled up with padding in front. `lead` words come before each image.
    """
    generator = torch.Generator().manual_seed(seed)
    ids, mask = [], []
    for count, padding in zip(images, pads, strict=True):
        text = torch.randint(10, 90, (TEXT,), generator=generator)
        text[0] = BOS
        front = (max(images) - count) * (QUERIES + lead)
        shown = ([30 + lead] * lead + [IMAGE] * QUERIES) * count
        row = [PAD[kind]] * front + shown + [PAD[kind]] * padding
        row += text[: TEXT - padding].tolist()
        ids.append(row)
        mask.append([0] * front + [1] * len(shown) + [0] * padding + [1] * (TEXT - padding))
    return {
        "pixel_values": torch.randn(sum(images), 3, 16, 16, generator=generator),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
    }


BATCHES = {
    "one row": {"images": (1,), "pads": (0,)},
    "padded rows": {"images": (1, 1, 1), "pads": (0, 3, 1)},
    "two images per row": {"images": (2, 2), "pads": (0, 2)},
    "one and two images": {"images": (1, 2), "pads": (2, 0)},
    "words before images": {"images": (1, 2), "pads": (2, 0), "lead": 2},
    "a row without image": {"images": (0, 1), "pads": (1, 2)},
}
"""Name -> arguments of `prompts`."""


def row_of(inputs, row, images):
    """Inputs of one row alone; `images` says how many images each row has."""
    first = sum(images[:row])
    return {
        "pixel_values": inputs["pixel_values"][first : first + images[row]],
        "input_ids": inputs["input_ids"][row : row + 1],
        "attention_mask": inputs["attention_mask"][row : row + 1],
    }


def as_embeddings(model, inputs):
    """The same inputs with `inputs_embeds` in place of ids."""
    changed = dict(inputs)
    changed["inputs_embeds"] = model.get_input_embeddings()(changed.pop("input_ids")).detach()
    return changed


def answers(inputs):
    """Labels for a decoder-only model: the text of the prompt, nothing for images and padding."""
    labels = inputs["input_ids"].clone()
    return labels.masked_fill((labels == IMAGE) | (inputs["attention_mask"] == 0), -100)
