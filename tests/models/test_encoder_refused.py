"""Image encoders: what cannot be done is refused before anything runs, in words that help."""

import pytest
import torch
import transformers

import tokprune
from tokprune import AdapterError, InvalidValueError, UnsupportedCallError
from tokprune.testing.tiny_encoders import captions, pictures, timm_size, tiny_clip, tiny_dinov2, tiny_timm, tiny_vit

from .families.encoders import timm_pictures
from .test_adapter_errors import NeedsGrid
from .traces import traces

OPTIONS = {"scorer": "l2-norm", "keep": 4, "after": 2}

POLICIES = {
    "hiding": ({"reduction": "mask"}, AdapterError, "reduction Mask.* takes no mask; use 'prune' or 'merge'"),
    "ragged": ({"selector": "top-p"}, AdapterError, "different numbers of tokens .*same number, such as 'top-k'"),
    "too deep": ({"after": 4}, InvalidValueError, "after=4: there are 3 layers"),
    "grid in steps": ({"scorer": NeedsGrid(), "after": "every"}, AdapterError, "'grid' .* first of 3 cuts.*cut once"),
    "text": ({"scorer": "catp-vote"}, AdapterError, "needs 'cross_attention'.*Fitting scorers: .*received-attention"),
    "queries": ({"target": "query"}, AdapterError, "cannot cut target 'query'.*its targets: 'image'"),
}


@pytest.mark.parametrize("case", POLICIES)
@pytest.mark.parametrize("build", [tiny_clip, tiny_timm], ids=["clip", "timm"])
def test_a_policy_is_refused_before_anything_changes(build, case):
    options, error, message = POLICIES[case]
    model = build()
    before = traces(model)
    with pytest.raises(error, match=message):
        tokprune.apply(model, **{**OPTIONS, **options})
    assert traces(model) == before


DENSE = ["Dinov2Backbone", "Dinov2WithRegistersBackbone", "ViTForMaskedImageModeling", "DeiTForMaskedImageModeling"]


@pytest.mark.parametrize("name", DENSE)
def test_models_that_lay_the_tokens_out_again_are_refused(name):
    model = (tiny_dinov2 if name.startswith("Dinov2") else tiny_vit)(name)
    before = traces(model)
    with pytest.raises(AdapterError, match=f"a {name} lays the image tokens out as a picture again.*as a sequence"):
        tokprune.apply(model, **OPTIONS)
    assert traces(model) == before


def strangers():
    """Models that look like the known ones and are not."""
    import timm
    from timm.models import vision_transformer as vit
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    size = timm_size()
    yield vit.VisionTransformer(**size, block_fn=vit.ParallelScalingBlock)
    yield vit.VisionTransformer(**size, attn_layer="diff")
    yield VisionTransformerRelPos(**size)
    yield timm.create_model("swin_tiny_patch4_window7_224", depths=(1,), num_heads=(2,), embed_dim=8)
    small = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64}
    yield transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**small))
    yield transformers.CLIPTextModel(transformers.CLIPTextConfig(**small, vocab_size=99))


def test_models_of_other_kinds_are_not_taken_for_these():
    for model in strangers():
        with pytest.raises(AdapterError, match="no adapter knows"):
            tokprune.apply(model, **OPTIONS)


X = timm_pictures()["x"]
MASK = torch.ones(17, 17, dtype=torch.bool)
CALLS = {
    "a mask": (tiny_timm, lambda m: m(X, attn_mask=MASK), "attn_mask hides tokens .* omit it"),
    "a mask by place": (tiny_timm, lambda m: m.forward_features(X, MASK), "attn_mask hides tokens"),
    "causality": (tiny_timm, lambda m: m(X, is_causal=True), "is_causal hides tokens"),
    "pictures": (tiny_timm, lambda m: m.forward_intermediates(X), "as a picture .*'NCHW'.*'NLC'"),
    "pictures by place": (
        tiny_timm,
        lambda m: m.forward_intermediates(X, None, False, False, False, "NCHW"),
        "forward_intermediates lays the tokens out",
    ),
    "DINO's pictures": (tiny_timm, lambda m: m.get_intermediate_layers(X, reshape=True), "as a picture .*'NCHW'"),
    "patch dropout": (
        lambda: tiny_timm(patch_drop_rate=0.5),
        lambda m: m.train()(X),
        "patch dropout takes tokens away at random",
    ),
    "clip's mask": (
        lambda: tiny_clip("CLIPVisionModel"),
        lambda m: m(**pictures(), attention_mask=torch.zeros(2, 1, 17, 17)),
        "attention_mask hides tokens of the encoder",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_is_refused_before_anything_runs(case):
    build, call, message = CALLS[case]
    model, ran = build(), []
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda *_: ran.append(1))
    with tokprune.apply(model, **OPTIONS):
        before = traces(model)
        with pytest.raises(UnsupportedCallError, match=message):
            call(model)
        assert traces(model) == before
        assert ran == []
    call(model)  # and without the policy it works


def test_features_only_is_refused():
    import timm

    model = timm.create_model("vit_tiny_patch16_224", features_only=True, **timm_size())
    with tokprune.apply(model.model, **OPTIONS), pytest.raises(UnsupportedCallError, match="as a picture"):
        model(X)


def test_the_mask_of_the_text_is_no_mask_of_the_image():
    with tokprune.apply(tiny_clip(), **OPTIONS) as handle, torch.no_grad():
        handle.model(**captions())
    assert handle.report.counts.tolist() == [4, 4]
