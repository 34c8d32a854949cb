"""`GenericAdapter`: paths alone give what the family's own adapter gives, and mistakes in them name what is near."""

import pytest
import torch

import tokprune
from tokprune import AdapterError, InvalidValueError
from tokprune.adapters import GenericAdapter
from tokprune.testing import check_adapter, tiny_crossattention, tiny_embed

from .calls import forward, generate, logits
from .either import only
from .traces import traces

ENCODER = {"encoder": "vision_model", "qkv": "encoder.layers.*.self_attn.qkv", "heads": 4, "protected": 1}
BLIP2 = GenericAdapter(**ENCODER, reader="qformer", patch_size=4)
LLAVA = GenericAdapter(
    encoder="model.vision_tower",
    q="encoder.layers.*.self_attn.q_proj",
    k="encoder.layers.*.self_attn.k_proj",
    heads=4,
    protected=1,
    seam="embed_merge",
)


BLIP = GenericAdapter(
    encoder="vision_model",
    qkv="encoder.layers.*.self_attn.qkv",
    heads=4,
    protected=1,
    seam="encoder_output",
    reader="text_decoder",
    patch_size=4,
)


@pytest.fixture(scope="module")
def built():
    return tiny_embed.tiny_llava()


@pytest.fixture
def llava(built):
    before = traces(built)
    yield built
    assert traces(built) == before


def two():
    return tiny_embed.prompts([[16], [16]], tiny_embed.pixels(2))


@only("blip2-opt")
def test_between_layers_it_keeps_and_answers_what_the_familys_own_does(either, laid):
    for policy in (
        {"scorer": "received-attention"},
        {"scorer": "self-attention", "after": (1, 3)},
        {"scorer": "l2-norm"},
    ):
        found = []
        for adapter in (BLIP2, None):
            with tokprune.apply(either, **policy, keep=4, target="image", adapter=adapter) as handle:
                found.append((logits(either, laid), generate(either, laid), handle.report.kept))
        assert all(torch.equal(*pair) for pair in zip(*found, strict=True)), policy


@only("blip2-opt")
def test_between_layers_it_keeps_the_laws_of_adapters(either, lay):
    check_adapter(BLIP2, either, lay(pads=(0, 0)))
    assert BLIP2.offers(either) == {"image": ("tokens", "encoder_attention", "self_attention", "grid")}


def test_in_front_of_the_language_model_it_keeps_and_answers_what_the_familys_own_does(llava):
    for scorer in ("received-attention:layers=first", "l2-norm"):
        found = []
        for adapter in (LLAVA, None):
            with tokprune.apply(llava, scorer=scorer, keep=4, adapter=adapter) as handle, torch.no_grad():
                found.append((llava(**two()).logits, llava.generate(**two(), max_new_tokens=3), handle.report.kept))
        assert all(torch.equal(*pair) for pair in zip(*found, strict=True)), scorer


def test_in_front_of_the_language_model_it_keeps_the_laws_of_adapters(llava):
    check_adapter(LLAVA, llava, two())
    assert LLAVA.offers(llava) == {"image": ("tokens", "encoder_attention", "text")}


def test_in_front_of_a_decoder_it_keeps_and_answers_what_the_familys_own_does():
    model, inputs = tiny_crossattention.tiny_blip(), tiny_crossattention.prompts()
    assert BLIP.offers(model) == {"image": ("tokens", "encoder_attention", "self_attention", "grid")}
    for scorer in ("received-attention", "self-attention", "l2-norm"):
        found = []
        for adapter in (BLIP, None):
            with tokprune.apply(model, scorer=scorer, keep=4, adapter=adapter) as handle, torch.no_grad():
                given = {name: value.clone() for name, value in inputs.items()}
                found.append((model(**inputs).logits, model.generate(**given, max_new_tokens=3), handle.report.kept))
        assert all(torch.equal(*pair) for pair in zip(*found, strict=True)), scorer
    check_adapter(BLIP, model, inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": 1}, "after=1 means nothing"),
        ({"reduction": "mask"}, "hides tokens"),
        ({"selector": "top-p"}, "no mask"),
    ],
    ids=str,
)
def test_in_front_of_a_decoder_what_needs_a_mask_is_refused(options, message):
    model = tiny_crossattention.tiny_blip()
    before = traces(model)
    with pytest.raises(AdapterError, match=message):
        tokprune.apply(model, scorer="first", adapter=BLIP, **options)
    assert traces(model) == before


@only("blip2-opt")
def test_without_projections_vectors_can_still_be_scored(either, laid):
    adapter = GenericAdapter(encoder="vision_model", layers="encoder.layers.*", protected=1)
    assert adapter.offers(either) == {"image": ("tokens",)}
    with tokprune.apply(either, scorer="l2-norm", keep=4, adapter=adapter) as handle:
        report = handle.check({**laid})
    assert (report.length_before, report.length_after) == (17, 5)
    with pytest.raises(AdapterError, match="Fitting scorers: distinct"):
        tokprune.apply(either, scorer="received-attention", adapter=adapter)


@only("blip2-opt")
def test_the_target_may_be_called_otherwise(either, laid):
    with tokprune.apply(either, scorer="l2-norm", keep=4, adapter=GenericAdapter(**ENCODER, target="audio")) as handle:
        forward(either, laid)
    assert handle.target == "audio"


WRONG = {
    "encoder": ({"encoder": "vision_modle"}, "no module 'vision_modle'; the nearest there is: 'vision_model'"),
    "projection": (
        {"qkv": "encoder.layers.*.self_attn.qvk"},
        r"no module 'vision_model.encoder.layers.\*.self_attn.qvk'; the nearest there is: "
        r"'vision_model.encoder.layers.\*.self_attn.qkv'",
    ),
    "reader": ({"reader": "qfomer"}, "the nearest there is: 'qformer'"),
    "heads that do not divide": ({"heads": 5}, "width 32 cannot have 5 heads"),
    "nothing alike": ({"encoder": "zzz"}, "no module 'zzz'. tokprune inspect"),
}


@only("blip2-opt")
@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_in_a_path_names_what_is_near(either, case):
    options, message = WRONG[case]
    before = traces(either)
    with pytest.raises(AdapterError, match=message):
        tokprune.apply(either, scorer="first", adapter=GenericAdapter(**{**ENCODER, **options}))
    assert traces(either) == before


@only("blip2-opt")
def test_a_cut_behind_the_last_layer_needs_a_reader(either):
    with pytest.raises(AdapterError, match="give reader="):
        tokprune.apply(either, scorer="first", after=3, adapter=GenericAdapter(**ENCODER))
    with tokprune.apply(either, scorer="first", after=3, adapter=BLIP2):
        pass


@only("blip2-opt")
def test_projections_that_only_some_layers_have_are_refused(either):
    crossing = "encoder.layer.*.crossattention.attention"  # in every other layer
    adapter = GenericAdapter(encoder="qformer", q=f"{crossing}.query", k=f"{crossing}.key", heads=4)
    with pytest.raises(AdapterError, match="2 of the encoder's 4 layers have a module"):
        tokprune.apply(either, scorer="first", adapter=adapter)


ROTATING = {
    "encoder": "model.language_model",
    "q": "layers.*.self_attn.q_proj",
    "k": "layers.*.self_attn.k_proj",
    "heads": 4,
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ROTATING, "rotates queries and keys behind"),
        ({**vars(LLAVA), "base": "model.vision_tower"}, "has no get_image_features; give base="),
        ({**vars(LLAVA), "reader": "model.langage_model"}, "nearest there is: 'model.language_model'"),
    ],
    ids=["rotary", "base", "reader"],
)
def test_what_cannot_be_used_is_refused(llava, options, message):
    with pytest.raises(AdapterError, match=message):
        tokprune.apply(llava, scorer="first", adapter=GenericAdapter(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "e"}, "give q and k, or qkv, or only layers"),
        ({"encoder": "e", "q": "a.*", "heads": 2}, "give q and k"),
        ({"encoder": "e", "q": "a.*", "k": "b.*", "qkv": "c.*", "heads": 2}, "give q and k"),
        ({"encoder": "e", "qkv": "c.*", "layers": "l.*", "heads": 2}, "give q and k"),
        ({"encoder": "e", "qkv": "layers.0.qkv", "heads": 2}, "'layers.0.qkv': expected one star"),
        ({"encoder": "e", "qkv": "layers.*.*.qkv", "heads": 2}, "expected one star"),
        ({"encoder": "e", "qkv": "c.*"}, "heads must be a positive number, got 0"),
        ({"encoder": "e", "qkv": "c.*", "heads": True}, "heads must be a positive number, got True"),
        ({"encoder": "e", "layers": "l.*", "seam": "encoder_output"}, "needs reader="),
        ({"encoder": "e", "layers": "l.*", "seam": "middle"}, "seam must be one of 'layers'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options, message):
    with pytest.raises(InvalidValueError, match=message):
        GenericAdapter(**options)


def test_a_model_that_no_adapter_knows_is_pruned_by_the_call_that_inspection_writes():
    import transformers

    width = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 16}
    model = transformers.ViTMSNModel(transformers.ViTMSNConfig(**width, image_size=16, patch_size=4)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    inputs = {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}
    with pytest.raises(AdapterError, match=r"no adapter knows .*inspect_attention"):
        tokprune.apply(model, scorer="first")
    (stack,) = tokprune.inspect_attention(model, inputs)
    adapter = eval(stack.call.replace(")", ", protected=1)"))
    check_adapter(adapter, model, inputs)


def test_it_prints_as_it_is_built():
    assert repr(GenericAdapter(**ENCODER)) == (
        "GenericAdapter(encoder='vision_model', qkv='encoder.layers.*.self_attn.qkv', heads=4, protected=1)"
    )
    assert eval(repr(LLAVA)) == LLAVA
