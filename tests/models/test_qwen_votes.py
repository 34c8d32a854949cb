"""Qwen-VL: what the image encoder's tokens vote, against the attention that the model itself computes."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import with_attention
from tokprune.testing.tiny_qwen import VIDEO, prompts, tiny_qwen2_5_vl, tiny_qwen2_vl, tiny_qwen3_vl

BUILDS = {"qwen2-vl": tiny_qwen2_vl, "qwen2-5-vl": tiny_qwen2_5_vl, "qwen3-vl": tiny_qwen3_vl}
SIZES = ((4, 8), (4, 6), (8, 4))
"""Encoder's rows and columns of three images: 8, 6 and 8 image tokens."""
_BUILT = {}


@pytest.fixture(params=BUILDS, ids=str)
def model(request):
    """One model of the family."""
    return _BUILT.setdefault(request.param, BUILDS[request.param]())


def inputs():
    """Three images in two rows."""
    return prompts([SIZES[:2], SIZES[2:]])


def in_the_model(model, given):
    """For each layer, the attention `[head token token]` of all images' tokens, in the order of the encoder.

    From softmaxes over the stretches that the model itself splits its sequence into, in eager mode.
    """
    eager, seen = with_attention(model, "eager"), []

    def note(module, args, kwargs, output):
        stretches = (kwargs["cu_seqlens"][1:] - kwargs["cu_seqlens"][:-1]).tolist()
        seen.append((stretches, []))

    real = torch.nn.functional.softmax

    def watched(values, *args, **kwargs):
        found = real(values, *args, **kwargs)
        parts.append(found[0].float())
        return found

    parts = []
    hooks = [block.attn.register_forward_hook(note, with_kwargs=True) for block in eager.model.visual.blocks]
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch.nn.functional, "softmax", watched)
        eager.model.get_image_features(given["pixel_values"], given["image_grid_thw"])
    for hook in hooks:
        hook.remove()
    layers = []
    for stretches, _ in seen:
        mine = [parts.pop(0) for _ in stretches]
        assert [each.shape[-1] for each in mine] == stretches
        layers.append(torch.stack([torch.block_diag(*(each[head] for each in mine)) for head in range(4)]))
    assert not parts
    return layers


def encoder_order(model, given):
    """For each image, which rows of the encoder's sequence its tokens are merged of, seen from what the merger does.

    The encoder is run on its own blocks' output replaced by the number of each row, so that nothing is assumed.
    """
    total, vision = len(given["pixel_values"]), model.model.visual
    order = {}

    def numbers(module, args, output):
        return torch.arange(total, dtype=torch.float32)[:, None].expand(-1, 32)

    def merged(module, args, output):
        order["rows"] = args[0].view(-1, 4, 32)[..., 0].long()
        return torch.arange(len(output), dtype=torch.float32)[:, None].expand(-1, 32).contiguous()

    hooks = [vision.blocks[-1].register_forward_hook(numbers), vision.merger.register_forward_hook(merged)]
    with torch.no_grad():
        out = model.model.get_image_features(given["pixel_values"], given["image_grid_thw"], return_dict=True)
    for hook in hooks:
        hook.remove()
    return [order["rows"][image[:, 0].long()] for image in out.pooler_output]


def signals(model, given, needs=("encoder_attention",)):
    """The signal of each group of images, as scorers get it."""
    seen = []

    class Seeing:
        aggregator = "sum"

        def __init__(self):
            self.needs = needs

        def __call__(self, signal):
            seen.append(signal)
            yield tokprune.Votes(torch.ones(signal.batch, 1, signal.token_count))

    with tokprune.apply(model, scorer=Seeing(), keep=1.0), torch.no_grad():
        model(**given)
    return seen


def test_votes_are_the_models_own_attention_image_by_image(model):
    given = inputs()
    layers, rows = in_the_model(model, given), encoder_order(model, given)
    groups = {signal.token_count: signal for signal in signals(model, given)}
    assert {count: signal.batch for count, signal in groups.items()} == {6: 1, 8: 2}
    for layer, attention in enumerate(layers):
        for count, images in {6: [1], 8: [0, 2]}.items():
            votes = groups[count].encoder_attention[layer]
            assert votes.layer == layer
            assert votes.heads == 4
            for place, image in enumerate(images):
                own = rows[image].flatten()
                expected = attention[:, own][:, :, own].unflatten(-1, (count, 4)).sum(-1)
                assert (votes.by_head[place] - expected).abs().max() < 1e-5, (layer, image)
                assert expected.sum(-1).sub(1).abs().max() < 1e-5  # nobody votes outside of the own image


def test_received_attention_keeps_what_receives_most(model):
    given = inputs()
    layers, rows = in_the_model(model, given), encoder_order(model, given)
    with tokprune.apply(model, scorer="received-attention:layers=last", keep=2) as handle, torch.no_grad():
        model(**given)
    for image, own in enumerate(rows):
        received = layers[-1].sum(dim=(0, 1))[own].sum(dim=1)
        assert set(handle.report.kept[image].nonzero()[:, 0].tolist()) == set(received.topk(2).indices.tolist())
        assert (handle.report.scores[image, : len(own)] / received).std() < 1e-4


def test_windows_are_really_apart_from_each_other():
    given = inputs()
    votes = signals(_BUILT.setdefault("qwen2-5-vl", tiny_qwen2_5_vl()), given)[1].encoder_attention
    # 4 x 8 is 2 x 4 image tokens in two windows: half of the 8 get no vote from a voter, except in the second layer.
    assert [(layer.values == 0).float().mean().item() for layer in votes] == [0.5, 0.0, 0.5]


def test_the_grid_is_each_images_own(model):
    found = signals(model, inputs(), ("grid", "tokens"))
    assert sorted((signal.grid, signal.batch, signal.token_count) for signal in found) == [
        ((2, 3), 1, 6),
        ((2, 4), 1, 8),
        ((4, 2), 1, 8),
    ]


def test_tokens_are_those_that_the_language_model_gets(model):
    given = inputs()
    with torch.no_grad():
        pooled = model.model.get_image_features(
            given["pixel_values"], given["image_grid_thw"], return_dict=True
        ).pooler_output
    for signal in signals(model, given, ("tokens",)):
        for found, image in zip(signal.tokens, {6: [1], 8: [0, 2]}[signal.token_count], strict=True):
            assert torch.equal(found, pooled[image])


def test_text_is_neither_padding_nor_image_nor_video(model):
    given = prompts([[(4, 8), (2, 4, 4)], [(4, 8)]], apart=model is _BUILT.get("qwen3-vl"))
    (signal,) = signals(model, given, ("text",))
    words = ~torch.isin(given["input_ids"], torch.tensor([0, 90, VIDEO]))
    assert torch.equal(signal.text.mask, words)
    embedded = model.get_input_embeddings()(given["input_ids"])
    assert torch.equal(signal.text.embeddings[words], embedded[words])
