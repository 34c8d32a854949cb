"""Image encoders run by hand, layer by layer, without hooks and without anything of tokprune.

A `Parts` says how one kind of model begins, which layers it has and how it ends; the cut is made in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .image_oracle import cut as cut_groups


@dataclass(frozen=True)
class Parts:
    """One kind of model, taken apart.

    Args:
        begin: (model, inputs) -> what enters the first layer.
        layers: model -> its layers.
        end: (model, inputs, what leaves the last layer) -> the answer.
        protected: tokens in front of the image tokens.
        maps: (model, inputs) -> the probabilities of every layer `[image head query key]`, computed without fusion.
        pools: whether the end attends to the image tokens.
    """

    begin: Callable[[Any, Any], torch.Tensor]
    layers: Callable[[Any], Sequence[Any]]
    end: Callable[[Any, Any, torch.Tensor], torch.Tensor]
    protected: int
    maps: Callable[[Any, Any], Sequence[torch.Tensor]]
    pools: bool = False

    @torch.no_grad()
    def answer(self, model, inputs, kept, after=1):
        """The answer if only the tokens of `kept` are there behind so many layers."""
        states = self.begin(model, inputs)
        for number, layer in enumerate(self.layers(model), start=1):
            states = _first(layer(states))
            if number == after:
                states = self.only(states, kept)
        return self.end(model, inputs, states)

    def only(self, states, kept):
        """The protected tokens and those of `kept`."""
        front = states[:, : self.protected]
        return torch.stack([torch.cat([front[i], states[i, self.protected :][row]]) for i, row in enumerate(kept)])

    @torch.no_grad()
    def stepwise(self, model, inputs, counts, merge):
        """The answer if tokens leave in steps, the shortest vectors first, as whole or merged into those left."""
        states, groups = self.begin(model, inputs), None
        for number, layer in enumerate(self.layers(model), start=1):
            states = _first(layer(states))
            if number in counts:
                tokens = states[:, 1:]
                groups = groups or [[[token] for token in range(tokens.shape[1])] for _ in tokens]
                kept = torch.zeros(tokens.shape[:2], dtype=torch.bool)
                longest = tokens.norm(dim=-1).argsort(dim=1, descending=True)[:, : counts[number]]
                states, groups = cut_groups(states, groups, kept.scatter(1, longest, True), merge)
        return self.end(model, inputs, states)

    @torch.no_grad()
    def proportional(self, model, inputs, counts):
        """As `stepwise` with merging, and each merged token stands in the sequence as often as tokens joined it.

        That is proportional attention without any weights: what attends to n equal tokens attends to one that weighs n.
        """
        states, groups = self.begin(model, inputs), None
        for number, layer in enumerate(self.layers(model), start=1):
            states = _singles(_first(layer(_repeated(states, groups, self.protected))), groups, self.protected)
            if number in counts:
                tokens = states[:, self.protected :]
                groups = groups or [[[token] for token in range(tokens.shape[1])] for _ in tokens]
                kept = torch.zeros(tokens.shape[:2], dtype=torch.bool)
                longest = tokens.norm(dim=-1).argsort(dim=1, descending=True)[:, : counts[number]]
                one = torch.cat([tokens[:, :1], tokens], dim=1)  # it leaves the first alone
                merged, groups = cut_groups(one, groups, kept.scatter(1, longest, True), True)
                states = torch.cat([states[:, : self.protected], merged[:, 1:]], dim=1)
        if self.pools:
            states = _repeated(states, groups, self.protected)
        return self.end(model, inputs, states)


def _repeated(states, groups, protected):
    """Each target token as often as it stands for tokens."""
    if groups is None:
        return states
    times = [torch.tensor([1] * protected + [len(group) for group in row]) for row in groups]
    return torch.stack([row.repeat_interleave(n, dim=0) for row, n in zip(states, times, strict=True)])


def _singles(states, groups, protected):
    """The first of each of those copies."""
    if groups is None:
        return states
    firsts = []
    for row in groups:
        ends = torch.tensor([len(group) for group in row]).cumsum(0)
        firsts.append(
            torch.cat([torch.arange(protected), torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]]) + protected])
        )
    return torch.stack([row[first] for row, first in zip(states, firsts, strict=True)])


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def _bare(layer):
    """A layer of transformers: no mask."""
    return lambda states: layer(states, attention_mask=None)


def transformers_maps(part):
    """Maps of a model whose image encoder is at `part` ("" for itself), from eager attention."""

    def maps(model, inputs):
        encoder = model.get_submodule(part)
        encoder.set_attn_implementation("eager")
        try:
            with torch.no_grad():
                options = {k: v for k, v in inputs.items() if k in ("pixel_values", "interpolate_pos_encoding")}
                return encoder(**options, output_attentions=True).attentions
        finally:
            encoder.set_attn_implementation("sdpa")

    return maps


def _embedded(encoder, inputs):
    options = {k: v for k, v in inputs.items() if k == "interpolate_pos_encoding"}
    return encoder.embeddings(inputs["pixel_values"], **options)


def similarity(model, inputs, image):
    """Logits of each image for each caption, from the image's vectors."""
    text = model.get_text_features(inputs["input_ids"], attention_mask=inputs["attention_mask"]).pooler_output
    image, text = (side / side.norm(dim=-1, keepdim=True) for side in (image, text))
    return (text @ image.t() * model.logit_scale.exp() + getattr(model, "logit_bias", 0)).t()


def _clip_pooled(model, inputs, states):
    return similarity(model, inputs, model.visual_projection(model.vision_model.post_layernorm(states[:, 0])))


def _siglip_pooled(model, inputs, states):
    vision = model.vision_model
    return similarity(model, inputs, vision.head(vision.post_layernorm(states)))


def _classified(front):
    def end(model, inputs, states):
        states = model.base_model.layernorm(states)
        return model.classifier(torch.cat([states[:, 0], states[:, front:].mean(dim=1)], dim=1))

    return end


CLIP = Parts(
    lambda model, inputs: model.vision_model.pre_layrnorm(_embedded(model.vision_model, inputs)),
    lambda model: [_bare(layer) for layer in model.vision_model.encoder.layers],
    _clip_pooled,
    1,
    transformers_maps("vision_model"),
)
CLIP_VISION = Parts(
    lambda model, inputs: model.pre_layrnorm(_embedded(model, inputs)),
    lambda model: [_bare(layer) for layer in model.encoder.layers],
    lambda model, inputs, states: states,
    1,
    transformers_maps(""),
)
SIGLIP = Parts(
    lambda model, inputs: _embedded(model.vision_model, inputs),
    lambda model: [_bare(layer) for layer in model.vision_model.encoder.layers],
    _siglip_pooled,
    0,
    transformers_maps("vision_model"),
    pools=True,
)
DINOV2 = Parts(
    lambda model, inputs: model.base_model.embeddings(inputs["pixel_values"]),
    lambda model: list(model.base_model.encoder.layer),
    _classified(3),
    3,
    transformers_maps("dinov2_with_registers"),
)
DEIT = Parts(
    lambda model, inputs: _embedded(model.deit, inputs),
    lambda model: list(model.deit.layers),
    lambda model, inputs, states: model.classifier(model.deit.layernorm(states)[:, 0]),
    2,
    transformers_maps("deit"),
)


def timm(protected):
    """A VisionTransformer of timm with so many tokens in front."""
    return Parts(
        lambda model, inputs: model.norm_pre(model._pos_embed(model.patch_embed(inputs["x"]))),
        lambda model: model.blocks,
        lambda model, inputs, states: model.forward_head(model.norm(states)),
        protected,
        _timm_maps,
    )


@torch.no_grad()
def _timm_maps(model, inputs):
    states, maps = timm(0).begin(model, inputs), []
    for block in model.blocks:
        attention = block.attn
        query, key, _ = attention.qkv(block.norm1(states)).unflatten(-1, (3, attention.num_heads, -1)).unbind(2)
        query, key = attention.q_norm(query.transpose(1, 2)), attention.k_norm(key.transpose(1, 2))
        maps.append((query @ key.transpose(2, 3) * attention.head_dim**-0.5).softmax(dim=-1))
        states = block(states)
    return maps
