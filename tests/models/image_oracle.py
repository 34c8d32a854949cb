"""A BLIP-2 whose image tokens are cut inside the encoder, run by hand, layer by layer and token by token.

No hooks, and nothing of tokprune. Token 0 of the encoder's sequence is [CLS]: it votes, and it always stays.
"""

from dataclasses import dataclass

import torch

from tokprune.testing.tiny_blip2 import QUERIES, with_attention

from .oracle import best, borda_points, hand_fed, oracle_answer, oracle_logits

TOKENS = 16
"""Image tokens of one picture of the tiny models, without [CLS]."""
DEPTH = 3
"""Layers of their encoder."""


@dataclass
class Encoded:
    """What the encoder run by hand gave, told of the tokens that there were in the beginning."""

    states: torch.Tensor
    kept: torch.Tensor
    scores: torch.Tensor
    sizes: torch.Tensor
    sequences: list
    """What entered each layer, and what left the last."""
    maps: list
    """Probabilities of each layer `[image head query key]`, [CLS] included."""

    @property
    def lengths(self):
        """How long the sequences are."""
        return [each.shape[1] for each in self.sequences]


def encode(model, images, counts, points, merge=False, **options):
    """Run the encoder of `model` by hand.

    `counts` says behind how many layers tokens leave, and how many stay there. `points(maps, tokens)` gives the points
    of every image token that is left, from the attention of the layers since the last cut and the tokens' vectors.
    """
    vision, eager = model.vision_model, with_attention(model.vision_model, "eager")
    states = vision.embeddings(images, **options)
    groups = [[[token] for token in range(states.shape[1] - 1)] for _ in images]
    scores, maps, since, sequences = [{} for _ in images], [], 0, [states]
    for number, (layer, twin) in enumerate(zip(vision.encoder.layers, eager.encoder.layers, strict=True), start=1):
        maps.append(twin.self_attn(twin.layer_norm1(states))[1].detach())
        states = layer(states)
        if number in counts:
            given = points(maps[since:], states[:, 1:].detach())
            for image, row in enumerate(given):
                scores[image].update({group[0]: float(value) for group, value in zip(groups[image], row, strict=True)})
            states, groups = cut(states, groups, best([list(map(float, row)) for row in given], counts[number]), merge)
            since = number
        sequences.append(states)
    tokens = sequences[0].shape[1] - 1
    kept, sizes = torch.zeros(len(images), tokens, dtype=torch.bool), torch.zeros(len(images), tokens)
    for image, row in enumerate(groups):
        for group in row:
            kept[image, group[0]], sizes[image, group[0]] = True, len(group)
    found = torch.tensor([[row.get(token, 0.0) for token in range(tokens)] for row in scores])
    return Encoded(vision.post_layernorm(states), kept, found, sizes, sequences, maps)


def cut(states, groups, kept, merge):
    """Leave the kept tokens of each image, in their order; with `merge` the others join the kept one most like them."""
    rows, left = [], []
    for image, row in enumerate(kept.tolist()):
        vectors, own = states[image, 1:], groups[image]
        joined = {token: [token] for token, stays in enumerate(row) if stays}
        for token, stays in enumerate(row):
            if merge and not stays:
                angles = {k: torch.cosine_similarity(vectors[token], vectors[k], dim=0).item() for k in joined}
                joined[max(angles, key=angles.get)].append(token)
        rows.append(torch.stack([states[image, 0], *(_mean(vectors, own, members) for members in joined.values())]))
        left.append([[token for member in members for token in own[member]] for members in joined.values()])
    return torch.stack(rows), left


def _mean(vectors, groups, members):
    """Mean of the members' vectors, each weighing as many original tokens as it stands for."""
    if len(members) == 1:
        return vectors[members[0]]
    weights = [len(groups[member]) for member in members]
    return sum(vectors[m] * w for m, w in zip(members, weights, strict=True)) / sum(weights)


def received(maps, tokens=None):
    """Attention that each image token receives from all tokens, [CLS] included, summed over heads and layers."""
    points = [[0.0] * (maps[0].shape[3] - 1) for _ in maps[0]]
    for layer in maps:
        for image, heads in enumerate(layer.tolist()):
            for head in heads:
                for voter in head:
                    for token, vote in enumerate(voter[1:]):
                        points[image][token] += vote
    return points


def of_layers(points, *indices):
    """The same points from some of the layers only."""
    return lambda maps, tokens: points([maps[index] for index in indices], tokens)


def ranked(maps, tokens):
    """Borda points: every head of every token, [CLS] included, ranks the image tokens by its attention to them."""
    return borda_points([layer[..., 1:].transpose(2, 3) for layer in maps])


def norms(maps, tokens):
    """Euclidean lengths of the image tokens."""
    return [[sum(x * x for x in token) ** 0.5 for token in row] for row in tokens.tolist()]


def first(maps, tokens):
    """The earlier, the better."""
    return [[tokens.shape[1] - token for token in range(tokens.shape[1])] for _ in tokens]


def last_layer(maps, tokens):
    """What `received-attention` reads unless told otherwise."""
    return received(maps[-1:])


def queries(model, inputs, states):
    """Query tokens as the language model gets them, from the encoder's output."""
    mask = torch.ones(states.shape[:2], dtype=torch.long)
    asked, read = model.query_tokens.expand(len(states), -1, -1), {}
    if "qformer_input_ids" in inputs:
        frames = len(states) // len(inputs["qformer_input_ids"]) if "video_token_index" in vars(model.config) else 1
        words, real = (
            inputs[f"qformer_{name}"].repeat_interleave(frames, dim=0) for name in ("input_ids", "attention_mask")
        )
        real = torch.cat([torch.ones(len(states), QUERIES, dtype=torch.long), real], dim=1)
        read = {"input_ids": words, "attention_mask": real}
    found = model.qformer(query_embeds=asked, encoder_hidden_states=states, encoder_attention_mask=mask, **read)
    return model.language_projection(found.last_hidden_state[:, :QUERIES].to(states.dtype))


def feed(model, inputs, states, kept=None):
    """Arguments for the bare language model: the prompt with the query tokens that read `states` filled in."""
    everything = torch.ones(len(states), QUERIES, dtype=torch.bool)
    return hand_fed(model, inputs, everything if kept is None else kept, vectors=queries(model, inputs, states))


@torch.no_grad()
def by_hand(model, inputs, counts, points=last_layer, **options):
    """The encoder's part by hand, and the arguments for the bare language model."""
    images = inputs["pixel_values"]
    encoded = encode(model, images.reshape(-1, *images.shape[-3:]), counts, points, **options)
    return encoded, feed(model, inputs, encoded.states)


def logits_by_hand(model, inputs, counts, points=last_layer, **options):
    """Logits of the model whose image tokens are cut by hand."""
    return oracle_logits(model, inputs, by_hand(model, inputs, counts, points, **options)[1])


def answer_by_hand(model, inputs, counts, mode, points=last_layer, **options):
    """New tokens that the model whose image tokens are cut by hand generates."""
    return oracle_answer(model, by_hand(model, inputs, counts, points, **options)[1], **mode)


def steps(counts):
    """`counts` as `tokprune.apply` is told: behind which layers, and the last count."""
    places = tuple(counts)
    return {"after": places if len(places) > 1 else places[0], "keep": counts[places[-1]]}
