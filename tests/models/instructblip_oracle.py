"""Who votes how in an InstructBLIP's self-attention, by hand: query tokens, and the question's tokens without padding.

All else is as in `oracle`, which does for BLIP-2 and InstructBLIP. Uses nothing of tokprune.
"""

import torch

from tokprune.testing.tiny_blip2 import QUERIES

from .oracle import borda_points, own_attention, question

LAYERS = 4
"""Of the Q-Former."""


def outputs(model, inputs):
    """Query tokens as they leave the Q-Former `[image query dim]`."""
    with torch.no_grad():
        found = model.get_image_features(inputs["pixel_values"], **question(inputs)).qformer_outputs
    return found.last_hidden_state[:, :QUERIES]


def self_attention(model, inputs):
    """Probabilities of each layer `[image head token token]`: query tokens, then the question with its padding."""
    found = own_attention(model, inputs)
    return [found[f"qformer.encoder.layer.{layer}.attention.attention"] for layer in range(LAYERS)]


def voters(inputs, image):
    """Places of the query tokens and of the question's real tokens, if there is one."""
    if "qformer_attention_mask" not in inputs:
        return list(range(QUERIES))
    real = inputs["qformer_attention_mask"][image].tolist()
    return [*range(QUERIES), *(QUERIES + place for place, is_real in enumerate(real) if is_real)]


def ballots(model, inputs, layers=range(LAYERS)):
    """How each voter votes: for each layer and each image `[head voter query]`."""
    found = self_attention(model, inputs)
    return [
        [found[layer][image][:, voters(inputs, image), :QUERIES] for image in range(len(found[layer]))]
        for layer in layers
    ]


def received(model, inputs, layers=range(LAYERS)):
    """Attention that each query token gets from all voters, summed over heads and layers."""
    by_layer = ballots(model, inputs, layers)
    return torch.stack([sum(layer[image].sum(dim=(0, 1)) for layer in by_layer) for image in range(len(by_layer[0]))])


def ranked(model, inputs, layers=range(LAYERS)):
    """Borda points that all voters give each query token, by counting whom each prefers to whom."""
    by_layer = ballots(model, inputs, layers)
    points = []
    for image in range(len(by_layer[0])):
        points += borda_points([layer[image].transpose(1, 2)[None] for layer in by_layer])
    return points
