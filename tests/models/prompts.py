"""Inputs as BLIP-2's processor lays them out: image placeholders, then left padding, then the text."""

from tokprune.testing.tiny_blip2 import IMAGE

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


def padded_on_each_side(lay, **options):
    """The same inputs once for each side on which the question of an InstructBLIP can be padded."""
    first = lay(**options)
    return [first] if "qformer_input_ids" not in first else [first, lay(**options, side="left")]
