"""What a pruned BLIP-2 for retrieval must answer, from its own modules and the kept query tokens alone."""

import torch
from torch.nn.functional import normalize

from tokprune.testing.tiny_blip2 import QUERIES

from .image_oracle import encode


def _chosen(tokens, kept):
    return torch.stack([row[:QUERIES][stays] for row, stays in zip(tokens, kept, strict=True)])


def _read(model, states, **text):
    """What the Q-Former makes of images, and of texts beside them."""
    asked = model.query_tokens.expand(len(states), -1, -1)
    if text:
        asked = model.embeddings(input_ids=text.pop("input_ids"), query_embeds=asked)
        text["query_length"] = QUERIES
    mask = torch.ones(states.shape[:2], dtype=torch.long)
    return model.qformer(query_embeds=asked, encoder_hidden_states=states, encoder_attention_mask=mask, **text)[0]


def index(model, states, kept):
    """The rows that an image has in an index."""
    return normalize(model.vision_projection(_chosen(_read(model, states), kept)), dim=-1)


def similarity(model, inputs, states, kept):
    """The contrastive head: each text's highest similarity with a kept query token of each image."""
    words, mask = inputs["input_ids"][:, QUERIES:], inputs["attention_mask"][:, QUERIES:]
    text = model.qformer(query_embeds=model.embeddings(input_ids=words), query_length=0, attention_mask=mask)[0]
    text = normalize(model.text_projection(text[:, 0]), dim=-1)
    return (index(model, states, kept) @ text.t()).amax(dim=1)


def matching(model, inputs, states, kept):
    """The matching head: the mean over the kept query tokens that read the text beside the image."""
    text = {"input_ids": inputs["input_ids"][:, QUERIES:], "attention_mask": inputs["attention_mask"]}
    return model.itm_head(_chosen(_read(model, states, **text), kept)).mean(dim=1)


@torch.no_grad()
def of_queries(head, model, inputs, kept):
    """The answer of `head` when the query tokens of `kept` are left."""
    states = model.vision_model(inputs["pixel_values"]).last_hidden_state
    return head(model, inputs, states, kept)


@torch.no_grad()
def of_images(head, model, inputs, counts, points):
    """The answer of `head` when image tokens are cut inside the encoder by hand."""
    states = encode(model, inputs["pixel_values"], counts, points).states
    return head(model, inputs, states, torch.ones(len(states), QUERIES, dtype=torch.bool))
