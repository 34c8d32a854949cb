"""Weighing keys is what a mask by hand does, and what many tokens in the place of one do."""

import copy

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from tokprune.adapters.tap import Tap
from tokprune.errors import UnsupportedCallError
from tokprune.testing import tiny

from .taps import Observer, reached, small, tapped, weighed, windows

TOKENS = 9
SIZES = torch.ones(2, TOKENS)
SIZES[:, 1:4] = torch.tensor([[5.0, 2.0, 7.0], [1.0, 4.0, 3.0]])
PADS = torch.ones(2, TOKENS, dtype=torch.long)
PADS[0, :2] = 0


def embeds(model, tokens=TOKENS):
    torch.manual_seed(1)
    return torch.randn(2, tokens, model.config.hidden_size)


def by_hand(model, real, sizes):
    """Masks `[row 1 query key]` that are added to the logits, by kind of layer or the same for all."""
    both = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril() & real[:, None, None]

    def mask(window):
        seen = both if window is None else both & torch.ones_like(both).triu(1 - window)
        return torch.zeros(2, 1, TOKENS, TOKENS).masked_fill(~seen, torch.finfo().min) + sizes.log()[:, None, None]

    found = dict(zip(getattr(model.config, "layer_types", None) or (), windows(model), strict=False))
    return {kind: mask(window) for kind, window in found.items()} if len(found) > 1 else mask(windows(model)[0])


EACH = [(kind, each) for kind in ("Llama", "OPT", "Mistral", "Gemma3Text") for each in ("sdpa", "eager", "blind")]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("kind", "implementation"), [*EACH, ("Gemma2", "eager")])
def test_it_equals_a_mask_by_hand_in_one_pass_and_in_steps(kind, implementation, padded, blind):
    model = copy.deepcopy(small(kind))
    mask = PADS if padded else None
    real = torch.ones_like(PADS).bool() if mask is None else mask.bool()
    positions = (real.long().cumsum(1) - 1).clamp(min=0) if kind == "OPT" else torch.arange(TOKENS).expand(2, -1)
    model.set_attn_implementation("eager")
    expected = model(
        inputs_embeds=embeds(model), attention_mask=by_hand(model, real, SIZES), position_ids=positions
    ).last_hidden_state
    model.set_attn_implementation(implementation)
    plain = model(inputs_embeds=embeds(model), attention_mask=mask).last_hidden_state
    with weighed(model, SIZES):
        found = model(inputs_embeds=embeds(model), attention_mask=mask).last_hidden_state
    assert torch.allclose(found[real], expected[real], atol=2e-5)
    assert (found - plain)[real].abs().max() > 0.1
    with weighed(model, SIZES[:, :5]) as observer:
        observer.total = 5
        output = model(
            inputs_embeds=embeds(model)[:, :5], attention_mask=None if mask is None else mask[:, :5], use_cache=True
        )
        steps = [output.last_hidden_state]
        cache = next(value for value in vars(output).values() if hasattr(value, "get_seq_length"))
        name = next(name for name in ("cache", "past_key_values") if name in type(output).__dataclass_fields__)
        assert SIZES[:, 5:].eq(1).all()
        for place in range(5, TOKENS):
            observer.total = place + 1
            given = {"attention_mask": None if mask is None else mask[:, : place + 1], name: cache}
            steps.append(model(inputs_embeds=embeds(model)[:, place : place + 1], **given).last_hidden_state)
    assert torch.allclose(torch.cat(steps, dim=1)[real], expected[real], atol=2e-5)
    assert torch.equal(model(inputs_embeds=embeds(model), attention_mask=mask).last_hidden_state, plain)


@pytest.fixture
def blind():
    """An implementation that is given no mask that it could add to: only what is padding, as flash attention is."""
    from transformers import AttentionInterface, AttentionMaskInterface

    def kernel(module, query, key, value, attention_mask, scaling=None, sliding_window=None, **kwargs):
        assert module.config._attn_implementation == "blind"
        assert attention_mask is None or attention_mask.dim() == 2
        assert query.shape[-1] % 8 == value.shape[-1] % 8 == 0
        queries, keys = query.shape[2], key.shape[2]
        seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
        if sliding_window is not None:
            seen = seen.triu(keys - queries - sliding_window + 1)
        if attention_mask is not None:
            seen = seen & attention_mask[:, None, None, -keys:].bool()
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        return attend(query, key, value, attn_mask=seen, scale=scaling).transpose(1, 2), None

    AttentionInterface.register("blind", kernel)
    AttentionMaskInterface.register("blind", lambda *args, attention_mask=None, **kwargs: attention_mask)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["clip", "siglip", "vit", "dinov2"])
def test_in_an_encoder_a_token_with_a_size_is_so_many_tokens(name, implementation):
    model, _ = tiny(name)
    vision = model.vision_model if hasattr(model, "vision_model") else model
    layers = next(module for name, module in vision.named_modules() if name.endswith(("layers", "layer")))
    model.set_attn_implementation(implementation)
    sizes = torch.tensor([3, 1, 4, 1, 2])
    states = torch.randn(
        2, 5, model.config.vision_config.hidden_size if vision is not model else model.config.hidden_size
    )

    @torch.no_grad()
    def through(states):
        for layer in layers:
            states = layer(states, attention_mask=None) if vision is not model else layer(states)
            states = states[0] if isinstance(states, tuple) else states
        return states

    many, plain = through(states.repeat_interleave(sizes, dim=1)), through(states)
    firsts = sizes.cumsum(0) - sizes
    with weighed(layers, sizes.float().expand(2, -1)):
        found = through(states)
    assert torch.allclose(found, many[:, firsts], atol=2e-5)
    assert (found - plain).abs().max() > 1e-3


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["whisper", "t5"])
def test_in_cross_attention_a_token_with_a_size_is_so_many_tokens(name, implementation):
    model, _ = tiny("whisper") if name == "whisper" else tiny("blip2", text="t5")
    decoder = model.model.decoder if name == "whisper" else model.language_model.decoder
    attentions = {
        path: each for path, each in reached(decoder).items() if path.endswith(("encoder_attn", "EncDecAttention"))
    }
    model.set_attn_implementation(implementation)
    width = (
        next(iter(attentions.values())).k_proj.in_features if name == "whisper" else model.language_model.config.d_model
    )
    sizes, ids = torch.tensor([3, 1, 4, 1, 2]), torch.tensor([[0, 3, 7, 9]] * 2)
    states = torch.randn(2, 5, width)
    observer = Observer(sizes.float().expand(2, -1))

    @torch.no_grad()
    def through(states, steps=False):
        if not steps:
            return decoder(input_ids=ids, encoder_hidden_states=states).last_hidden_state
        output = decoder(input_ids=ids[:, :2], encoder_hidden_states=states, use_cache=True)
        found = [output.last_hidden_state]
        name = next(name for name in ("cache", "past_key_values") if name in type(output).__dataclass_fields__)
        cache = getattr(output, name)
        for place in (2, 3):
            step = decoder(input_ids=ids[:, place : place + 1], encoder_hidden_states=states, **{name: cache})
            found.append(step.last_hidden_state)
        return torch.cat(found, dim=1)

    many, plain = through(states.repeat_interleave(sizes, dim=1)), through(states)
    taps = [Tap(module, weigh=observer.weigh, first=(path,)) for path, module in attentions.items()]
    for tap in taps:
        tap.install()
    assert taps
    assert torch.allclose(through(states), many, atol=2e-5)
    assert torch.allclose(through(states, steps=True), many, atol=2e-5)
    for tap in taps:
        tap.remove()
    assert (many - plain).abs().max() > 1e-3
    assert torch.equal(through(states), plain)


def test_capped_logits_are_refused_where_no_mask_is_added_after_the_cap(blind):
    model = copy.deepcopy(small("Gemma2"))
    model.set_attn_implementation("blind")
    model(inputs_embeds=embeds(model))
    with weighed(model, SIZES), pytest.raises(UnsupportedCallError, match=r"'blind' caps .*'eager'.*attention='plain'"):
        model(inputs_embeds=embeds(model))


def test_sizes_of_one_change_nothing():
    for kind in ("Llama", "OPT"):
        model = copy.deepcopy(small(kind))
        for implementation in ("sdpa", "eager"):
            model.set_attn_implementation(implementation)
            for mask in (None, PADS):
                plain = model(inputs_embeds=embeds(model), attention_mask=mask).last_hidden_state
                with weighed(model, torch.ones_like(SIZES)):
                    found = model(inputs_embeds=embeds(model), attention_mask=mask).last_hidden_state
                real = PADS.bool() if mask is not None else torch.ones_like(PADS).bool()
                assert torch.allclose(found[real], plain[real], atol=1e-6), (kind, implementation)


def test_two_taps_add_up():
    model = copy.deepcopy(small("Llama"))
    with weighed(model, SIZES * SIZES):
        expected = model(inputs_embeds=embeds(model)).last_hidden_state
    with weighed(model, SIZES), weighed(model, SIZES):
        assert torch.allclose(model(inputs_embeds=embeds(model)).last_hidden_state, expected, atol=1e-5)


def test_beams_share_the_sizes_of_their_prompt():
    model = copy.deepcopy(small("Llama"))
    with weighed(model, SIZES):
        expected = model(inputs_embeds=embeds(model)).last_hidden_state.repeat_interleave(3, dim=0)
        found = model(inputs_embeds=embeds(model).repeat_interleave(3, dim=0)).last_hidden_state
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_kernel_without_masks_weighs_in_half_precision_as_one_with_masks(dtype, blind):
    model, ids = copy.deepcopy(small("Llama")).to(dtype), torch.arange(18).view(2, 9)
    found = {}
    for implementation in ("sdpa", "blind"):
        model.set_attn_implementation(implementation)
        with weighed(model, SIZES * 100):
            found[implementation] = model(ids).last_hidden_state.float()
    plain = model(ids).last_hidden_state.float()
    error = (found["sdpa"] - found["blind"]).abs().max()
    assert error < 0.1 * (found["sdpa"] - plain).abs().max()


@pytest.mark.parametrize("reentrant", [True, False])
def test_sizes_under_gradient_checkpointing_are_refused_where_they_would_be_lost(reentrant):
    model = copy.deepcopy(small("Llama")).train().requires_grad_()

    def backward():
        model.zero_grad()
        model(inputs_embeds=embeds(model).requires_grad_()).last_hidden_state.square().sum().backward()
        return model.layers[0].self_attn.q_proj.weight.grad.clone()

    plain = backward()
    with weighed(model, SIZES):
        assert not torch.allclose(backward(), plain)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        with pytest.raises(UnsupportedCallError, match=r"gradient_checkpointing_disable\(\), or use attention='plain'"):
            backward()
    with tapped(model, observer := Observer(), weigh=Observer().weigh):
        assert torch.allclose(backward(), plain, atol=1e-5)
    assert not observer.seen


@pytest.mark.slow
def test_a_compiled_model_weighs_in_every_call(compiler):
    model = copy.deepcopy(small("Llama"))
    compiled = compiler(model)
    compiled(inputs_embeds=embeds(model))
    for factor in (1, 2):
        with weighed(model, SIZES * factor):
            expected = model(inputs_embeds=embeds(model)).last_hidden_state
            assert torch.allclose(compiled(inputs_embeds=embeds(model)).last_hidden_state, expected, atol=1e-5)
            one = expected[:1]
        with weighed(model, SIZES[:1] * factor):
            found = compiled(inputs_embeds=embeds(model)[:1]).last_hidden_state
        assert torch.allclose(found, one, atol=1e-5)
