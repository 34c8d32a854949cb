"""Votes of models that merge image tokens into their prompt, against their own attention and their own packing."""

import copy

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

import tokprune
from tokprune.testing import tiny_embed
from tokprune.testing.tiny_embed import prompts, tiles

from .families.embedmerge import ENCODER, FAMILIES, row, rows_of_tiles

SCALED = row(
    "llava-onevision, scaled down",
    "llava-onevision",
    lambda: tiny_embed.tiny_llava_onevision(most=1),
    lambda: prompts([[7], [8]], tiles((16, 32), (32, 16))),
    (7, 8),
)
VOTING = [family for family in (*FAMILIES, SCALED) if set(family.scorers) >= set(ENCODER)]


class Tower(torch.nn.Module):
    """Stands in for an encoder and gives what it is told to, whatever is asked for."""

    def __init__(self, states, **attributes):
        super().__init__()
        self.states = states
        self.__dict__.update(attributes)

    def forward(self, *args, **kwargs):
        return BaseModelOutputWithPooling(last_hidden_state=self.states, hidden_states=(self.states,) * 9)


def image_arguments(inputs):
    """What carries the images."""
    return {name: value for name, value in inputs.items() if name.startswith(("pixel", "image"))}


def encoder_of(model):
    """Name of the image encoder."""
    return "vision_tower" if hasattr(model.model, "vision_tower") else "vision_model"


def eager_attention(model, inputs):
    """The encoder's own attention `[row head query key]` in eager mode, layer by layer, and its hidden states."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    tower, seen, states = getattr(eager.model, encoder_of(eager)), [], []
    for module in tower.modules():
        if "q_proj" in dict(module.named_children()):
            module.register_forward_hook(lambda _, args, output: seen.append(output[1]))
    tower.register_forward_hook(lambda _, args, output: states.append(output.last_hidden_state))
    with torch.no_grad():
        eager.model.get_image_features(**image_arguments(inputs), return_dict=True)
    return seen, states[0]


def made_of(model, inputs, tokens, states):
    """For each image and token, the encoder's tokens (row, place) that it is made of: those that change it."""
    stub = copy.deepcopy(model)
    states = torch.randn(states.shape, generator=torch.Generator().manual_seed(3)).requires_grad_()
    name = encoder_of(stub)
    setattr(stub.model, name, Tower(states, patch_size=getattr(getattr(stub.model, name), "patch_size", None)))
    pooled = stub.model.get_image_features(**image_arguments(inputs), return_dict=True).pooler_output
    parts = [pooled] if isinstance(pooled, torch.Tensor) else pooled
    flat = iter(torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]))
    found = []
    for total in tokens:
        image = []
        for _ in range(total):
            gradient = torch.autograd.grad(next(flat).pow(2).sum(), states, retain_graph=True, allow_unused=True)[0]
            strength = torch.zeros(states.shape[:2]) if gradient is None else gradient.abs().sum(dim=-1)
            image.append([tuple(place) for place in strength.nonzero().tolist()])
        found.append(image)
    return found


@pytest.mark.parametrize("family", VOTING, ids=str)
def test_a_token_gets_the_votes_for_what_it_is_made_of(family):
    model, inputs = family.build(), family.inputs()
    attention, states = eager_attention(model, inputs)
    made = made_of(model, inputs, family.tokens, states)
    seen = {}

    class Watching:
        needs = ("encoder_attention",)
        aggregator = "sum"

        def __call__(self, signal):
            seen[signal.token_count] = [votes.by_head.sum(dim=(1, 2)) for votes in signal.encoder_attention]
            yield from signal.encoder_attention

    with tokprune.apply(model, scorer=Watching(), keep=2) as handle:
        family.answer(model, inputs)
    layers = next(iter(seen.values()))
    assert 1 < len(layers) <= len(attention)
    groups = {total: [i for i, other in enumerate(family.tokens) if other == total] for total in family.tokens}
    for total, images in groups.items():
        for layer, found in enumerate(seen[total]):
            received = attention[layer].sum(dim=(1, 2))
            for order, image in enumerate(images):
                for token in range(total):
                    parts = [received[row, place] for row, place in made[image][token]]
                    if family is SCALED and len(parts) > 1:  # the nearest of them has to stand for all
                        assert min((found[order, token] - part).abs() for part in parts) < 1e-4
                    else:
                        assert (found[order, token] - sum(parts)).abs() < 1e-4
    assert handle.report.kept.sum() == 4


def test_class_tokens_vote_first_and_are_no_candidates():
    for build, images, counts in (
        (tiny_embed.tiny_internvl, tiny_embed.pixels(2), [[16], [16]]),
        (tiny_embed.tiny_llava_next, tiles((16, 32), (16, 32)), [[14], [14]]),
    ):
        model, inputs = build(), prompts(counts, images)
        attention, _ = eager_attention(model, inputs)
        signal = tokprune.observe(model, inputs, ("encoder_attention",))
        first = signal.encoder_attention[0].of_voters(0, 1)
        total = first.total().sum()
        tiles_seen = len(attention[0])
        shown = attention[0][:, :, 0, 1:].sum()
        assert first.shape[1] == attention[0].shape[1]
        if tiles_seen == 2:
            assert torch.allclose(total, shown, atol=1e-4)
        else:
            assert torch.allclose(first.values, _own_tiles(attention[0]), atol=1e-5)


def _own_tiles(attention):
    """What [CLS] of each tile of two images, 3 tiles each, gives the tokens of its tile, packed by hand."""
    heads, rows = attention.shape[1], attention[:, :, 0, 1:]
    found = torch.zeros(2, heads, 14)
    for image in range(2):
        whole, left, right = rows[3 * image], rows[3 * image + 1], rows[3 * image + 2]
        found[image, :, :4] = whole
        for line in range(2):
            begin = 4 + 5 * line
            found[image, :, begin : begin + 2] = left[:, 2 * line : 2 * line + 2]
            found[image, :, begin + 2 : begin + 4] = right[:, 2 * line : 2 * line + 2]
    return found


def padded_tiles():
    """Idefics' images, of which the second has padding at its right side."""
    images = rows_of_tiles()
    mask = torch.ones(2, 2, 16, 16, dtype=torch.long)
    mask[1, 0, :, 8:] = 0
    return {**images, "pixel_attention_mask": mask}


def test_query_tokens_of_a_resampler_get_the_votes_of_real_image_tokens():
    model, inputs = tiny_embed.tiny_idefics2(), prompts([[8, 8], [8]], padded_tiles(), around=89)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    seen = []
    for layer in eager.model.connector.perceiver_resampler.layers:
        layer.self_attn.register_forward_hook(lambda _, args, output: seen.append(output[1]))
    with torch.no_grad():
        eager.model.get_image_features(**image_arguments(inputs), return_dict=True)
    signal = tokprune.observe(model, inputs, ("cross_attention",))
    assert len(signal.cross_attention) == 2
    for votes, attention in zip(signal.cross_attention, seen, strict=True):
        expected = attention[..., :-8].transpose(2, 3)  # [image head image-token query]; 8 queries are keys, too
        assert votes.shape == (3, 4 * 16, 8)
        assert torch.allclose(votes.by_head, expected, atol=1e-5)
        weights = votes.weights.view(3, 4, 4, 4)
        assert weights[2, :, :, 2:].abs().max() == 0  # the padding is no voter
        assert weights[2, :, :, :2].min() == weights[:2].min() == 1
    with tokprune.apply(model, scorer="catp-vote", keep=3) as handle, torch.no_grad():
        model(**inputs)
    points = torch.zeros(3, 8)
    for attention in seen:
        for image in range(3):
            for head in range(4):
                for voter in range(16):
                    if image == 2 and voter % 4 >= 2:
                        continue
                    ballot = attention[image, head, :, voter]
                    points[image] += (ballot[:, None] > ballot).sum(dim=1)
    assert torch.allclose(handle.report.scores.float(), points)


@pytest.mark.parametrize("smol", [False, True])
def test_padding_of_a_tile_neither_votes_nor_gets_votes(smol):
    model, inputs = tiny_embed.tiny_idefics3(smol), prompts([[16, 16], [16]], padded_tiles(), around=89)
    attention, _ = eager_attention(model, inputs)
    signal = tokprune.observe(model, inputs, ("encoder_attention",))
    for votes, own in zip(signal.encoder_attention, attention, strict=True):
        received = own[2].view(4, 8, 8, 64)[:, :, :4].sum(dim=(0, 1, 2)).view(8, 8)  # voters left of the padding
        expected = received.view(4, 2, 4, 2).sum(dim=(1, 3)).flatten()
        found = votes.total()[2]
        assert torch.allclose(found, expected, atol=1e-4)
        assert found.view(4, 4)[:, 2:].abs().max() == 0


def test_grids_are_rows_of_the_picture():
    for family in VOTING:
        model, inputs = family.build(), family.inputs()
        if "grid" in tokprune.fit.adapter_for(model).offers(model)["image"] and len(set(family.tokens)) == 1:
            rows, columns = tokprune.observe(model, inputs, ("grid",)).grid
            assert rows * columns == family.tokens[0]
            _, states = eager_attention(model, inputs)
            made = made_of(model, inputs, family.tokens, states)
            corners = [min(place for _, place in token) for token in made[0]]
            assert corners == sorted(corners)
