"""What a pruned BLIP-2 or InstructBLIP must do, worked out by hand, row by row, token by token. Without tokprune."""

import torch

from tokprune.testing.tiny_blip2 import IMAGE, QUERIES, with_attention

from .aligned import aligned
from .calls import answer, decoder, generate


def question(inputs):
    """What the Q-Former of an InstructBLIP reads beside the image; nothing for a BLIP-2."""
    return {name: value for name, value in inputs.items() if name.startswith("qformer")}


def own_attention(model, inputs):
    """Probabilities that transformers itself computes in eager mode: path of the attention module -> tensor."""
    eager, seen, hooks = with_attention(model, "eager"), {}, []
    for name, module in eager.named_modules():
        if name.endswith(("attention.attention", "vision_model.encoder.layers", "self_attn")):
            if name.startswith("language_model"):
                continue
            note = lambda _, args, output, name=name: seen.__setitem__(name, output[1])  # noqa: E731
            hooks.append(module.register_forward_hook(note))
    with torch.no_grad():
        eager.get_image_features(inputs["pixel_values"], **question(inputs))
    return seen


def cross_attention(model, inputs):
    """Cross-attention maps `[image head query token]`, one per layer, in order."""
    found = own_attention(model, inputs)
    paths = [f"qformer.encoder.layer.{i}.crossattention.attention" for i in range(len(model.qformer.encoder.layer))]
    return [found[path] for path in paths if path in found]


def borda_points(maps, weights=None):
    """Points of every query token of every image, by counting whom each image token prefers to whom."""
    images, heads, queries, voters = maps[0].shape
    points = [[0.0] * queries for _ in range(images)]
    for layer in maps:
        for image in range(images):
            for head in range(heads):
                for voter in range(voters):
                    ballot = layer[image, head, :, voter].tolist()
                    weight = 1.0 if weights is None else float(weights[image, voter])
                    for token in range(queries):
                        beaten = sum(other < ballot[token] for other in ballot)
                        tied = sum(other == ballot[token] for other in ballot) - 1
                        points[image][token] += weight * (beaten + tied / 2)
    return points


def best(points, count):
    """bool `[image token]`: the `count` tokens with the most points of each image."""
    kept = torch.zeros(len(points), len(points[0]), dtype=torch.bool)
    for image, row in enumerate(points):
        for token in sorted(range(len(row)), key=lambda i: (-row[i], i))[:count]:
            kept[image, token] = True
    return kept


def catp_kept(model, inputs, count):
    """What CATP keeps."""
    return best(borda_points(cross_attention(model, inputs)), count)


def some_kept(images, count, seed=3):
    """Any set with `count` tokens of each image: for tests that are not about the choice."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(images, QUERIES, dtype=torch.bool)
    for image in range(images):
        kept[image, torch.randperm(QUERIES, generator=generator)[:count]] = True
    return kept


def features(model, inputs):
    """Query tokens as the language model gets them `[image query dim]`; the frames of videos are images."""
    with torch.no_grad():
        if hasattr(model, "get_video_features"):
            found = model.get_video_features(inputs["pixel_values"], **question(inputs)).pooler_output
            return found.unflatten(1, (-1, QUERIES)).flatten(0, 1)
        if hasattr(model, "get_qformer_features"):
            return model.language_projection(model.get_qformer_features(inputs["pixel_values"]))
        return model.get_image_features(inputs["pixel_values"], **question(inputs)).pooler_output


def stays(inputs, kept):
    """For each row, which positions stay (indices), going through the prompt from left to right."""
    image, token, rows = 0, 0, []
    for row in inputs["input_ids"].tolist():
        stay = []
        for place, word in enumerate(row):
            if word != IMAGE:
                stay.append(place)
                continue
            if kept[image, token]:
                stay.append(place)
            token += 1
            if token == QUERIES:
                image, token = image + 1, 0
        rows.append(stay)
    return rows


def full_embeddings(model, inputs, vectors=None):
    """The unpruned prompt's embeddings `[row sequence dim]` with the query tokens filled in."""
    vectors = features(model, inputs) if vectors is None else vectors
    flat = iter(vectors.flatten(0, 1))
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(inputs["input_ids"]).clone()
    for row, words in enumerate(inputs["input_ids"].tolist()):
        for place, word in enumerate(words):
            if word == IMAGE:
                embeddings[row, place] = next(flat).to(embeddings.dtype)
    return embeddings


def own_positions(mask):
    """The position that OPT gives each token: how many real tokens come before it."""
    return torch.tensor([[sum(row[:i]) if row[i] else 0 for i in range(len(row))] for row in mask.tolist()])


def hand_fed(model, inputs, kept, positions="compact", vectors=None):
    """Arguments for the bare language model: the tokens that stay, padded left (decoder-only) or right (T5)."""
    rows = stays(inputs, kept)
    left = not model.language_model.config.is_encoder_decoder
    fed = Fed(rows, inputs["attention_mask"].shape[1])
    fed["inputs_embeds"] = _gather(full_embeddings(model, inputs, vectors), rows, 0.0, left)
    fed["attention_mask"] = _gather(inputs["attention_mask"], rows, 0, left)
    if left:
        fed["input_ids"] = _gather(inputs["input_ids"], rows, model.config.text_config.pad_token_id, left)
    if left and positions == "preserve":
        fed["position_ids"] = _gather(own_positions(inputs["attention_mask"]), rows, 0, left)
    return fed


def _gather(values, rows, fill, left):
    longest = max(len(row) for row in rows)
    gathered = values.new_full((len(rows), longest, *values.shape[2:]), fill)
    for index, row in enumerate(rows):
        start = longest - len(row) if left else 0
        for place, source in enumerate(row):
            gathered[index, start + place] = values[index, source]
    return gathered


class Fed(dict):
    """Arguments of a bare language model; `rows` are the positions that stayed, of `length`."""

    def __init__(self, rows, length):
        super().__init__()
        self.rows, self.length = rows, length


def short_logits(model, inputs, fed, **options):
    """Logits of the bare language model."""
    fed = {name: value for name, value in fed.items() if name != "input_ids"}
    with torch.no_grad():
        return model.language_model(**fed, **decoder(model, inputs), **options).logits


def oracle_logits(model, inputs, fed, **options):
    """The same for each position of the prompt; an encoder-decoder has logits of its decoder's positions anyway."""
    found = short_logits(model, inputs, fed, **options)
    return found if model.language_model.config.is_encoder_decoder else aligned(found, fed.rows, fed.length)


def oracle_answer(model, fed, **options):
    """New tokens that the bare language model generates."""
    return answer(model, fed, generate(model.language_model, fed, **options))


def oracle_loss(model, inputs, kept, labels):
    """Mean loss over all labels, each predicted where the prompt says what comes next.

    `labels` may cover only the last positions; the first one given is never predicted, for want of a token before it.
    """
    scores = oracle_logits(model, inputs, hand_fed(model, inputs, kept)).log_softmax(dim=-1)
    covered = inputs["input_ids"].shape[1] - labels.shape[1]
    losses = [
        -scores[row, covered + place - 1, label]
        for row, words in enumerate(labels.tolist())
        for place, label in enumerate(words)
        if place > 0 and label != -100
    ]
    return torch.stack(losses).mean()
