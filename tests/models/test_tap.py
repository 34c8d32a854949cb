"""A tap that observes changes nothing, whatever runs, and leaves no trace."""

import copy
import io
import pickle
from functools import cache

import pytest
import torch

from tokprune.adapters.tap import Tap, View
from tokprune.adapters.upstream import since
from tokprune.outputs import answer_of
from tokprune.testing import tiny

from .taps import Observer, reached, small, tapped, taps_of
from .threads import run_together

FAMILIES = {
    **{
        name: (name, {})
        for name in ("llava", "blip2", "gemma3", "mistral3", "qwen2-vl", "qwen3-vl", "whisper", "mllama")
    },
    **{name: (name, {}) for name in ("clip", "siglip", "vit", "dinov2", "vision-encoder-decoder", "idefics")},
    "t5": ("blip2", {"text": "t5"}),
}
WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "samples": {"do_sample": True, "num_return_sequences": 2},
    "static cache": {"cache_implementation": "static"},
}


@cache
def lent(name):
    """A model and its inputs; a test must leave them as they came."""
    family, options = FAMILIES[name]
    model, inputs = tiny(family, **options)
    if name == "t5":
        inputs["decoder_input_ids"] = torch.tensor([[0, 3, 12]] * 2)
    return model, inputs


def answers(model, inputs, *ways):
    """The answer of a forward, and what is generated."""
    with torch.no_grad():
        yield answer_of(model(**inputs))
        if hasattr(model, "generate") and model.can_generate():
            prompt = {name: value for name, value in inputs.items() if not name.startswith("decoder")}
            for way in ways:
                torch.manual_seed(3)
                yield model.generate(**prompt, **{"max_new_tokens": 4, "do_sample": False, **WAYS[way]})


def configs(model):
    """Which configuration each module has, and the names of what else a module that can be tapped has."""
    found = {name: id(module.__dict__.get("config")) for name, module in model.named_modules()}
    return found, {name: sorted(module.__dict__) for name, module in reached(model).items()}


def same(some, others):
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", FAMILIES)
def test_observing_changes_no_bit_of_any_answer(name, implementation):
    model, inputs = lent(name)
    before = configs(model)
    model.set_attn_implementation(implementation)
    try:
        # Mllama of older releases does not generate with a static cache, tapped or not.
        ways = [way for way in WAYS if name != "mllama" or way != "static cache" or since("5.23")]
        plain = list(answers(model, inputs, *ways))
        for number, expected in enumerate(plain):
            with tapped(model, Observer()) as observer:
                found = list(answers(model, inputs, *ways[:number]))[-1]
            assert torch.equal(found, expected)
            assert observer.names == set(reached(model))
    finally:
        model.set_attn_implementation("sdpa")
    assert configs(model) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["Llama", "Gemma2"])
def test_observing_in_half_precision(kind, dtype):
    model, ids = copy.deepcopy(small(kind)).to(dtype), torch.arange(12).view(2, 6)
    plain = model(ids).last_hidden_state
    with tapped(model, Observer()) as observer:
        assert torch.equal(model(ids).last_hidden_state, plain)
    assert {seen.query.dtype for _, seen in observer.seen} == {dtype}


def test_what_is_seen_gives_the_models_own_probabilities():
    model, ids = copy.deepcopy(small("Llama")), torch.arange(12).view(2, 6)
    model.set_attn_implementation("eager")
    with tapped(model, Observer()) as observer:
        expected = model(ids, output_attentions=True).attentions
    for (_, seen), attention in zip(observer.seen, expected, strict=True):
        keys = seen.key.repeat_interleave(2, dim=1)
        logits = seen.query @ keys.transpose(2, 3) * seen.scale
        found = logits.masked_fill(~seen.allowed(), -torch.inf).softmax(dim=-1)
        assert torch.allclose(found, attention, atol=1e-6)


def test_taps_on_one_module_leave_in_any_order():
    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    before, observers = configs(model), [Observer() for _ in range(3)]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        taps = [taps_of(model, observer) for observer in observers]
        for each in taps:
            for tap in each:
                tap.install()
        for count, number in enumerate(order):
            for observer in observers:
                observer.seen.clear()
            model(ids)
            assert [len(observers[each].seen) for each in order] == [0] * count + [2] * (3 - count)
            for tap in taps[number]:
                tap.remove()
                tap.remove()
        assert configs(model) == before
        assert not any(isinstance(module.config, View) for module in reached(model).values())


def test_another_implementation_may_be_chosen_while_taps_sit():
    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    expected = {}
    for name in ("eager", "sdpa"):
        model.set_attn_implementation(name)
        expected[name] = model(ids).last_hidden_state
    with tapped(model, Observer()) as observer:
        for name in ("eager", "sdpa", "eager"):
            model.set_attn_implementation(name)
            assert torch.equal(model(ids).last_hidden_state, expected[name])
        assert model.config._attn_implementation == "eager"
        assert {module.config._attn_implementation for module in reached(model).values()} == {"tokprune+eager"}
    assert len(observer.seen) == 6


def test_an_implementation_of_the_users_own_is_called(monkeypatch):
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    called, model = [], copy.deepcopy(small("Llama"))

    def mine(module, *args, **kwargs):
        called.append(module.config._attn_implementation)
        return sdpa_attention_forward(module, *args, **kwargs)

    with tapped(model, Observer()) as observer:
        AttentionInterface.register("mine", mine)
        AttentionMaskInterface.register("mine", sdpa_mask)
        model.set_attn_implementation("mine")
        model(torch.arange(6)[None])
    assert called == ["mine", "mine"]
    assert len(observer.seen) == 2


def test_what_a_module_does_itself_for_an_implementation_it_still_does():
    """GPT-2 has a way of its own to attend, that it takes if the name is "eager": no tap reaches that."""
    model, _ = lent("vision-encoder-decoder")
    attention = model.decoder.transformer.h[0].attn
    assert "decoder.transformer.h.0.attn" in reached(model)
    model.set_attn_implementation("eager")
    try:
        with tapped(model, Observer()):
            assert attention.config._attn_implementation == "eager"
            assert attention.config._attn_implementation in ("eager", "sdpa")
            assert attention.config._attn_implementation != "sdpa"
        attention.reorder_and_upcast_attn = True
        assert "decoder.transformer.h.0.attn" not in reached(model)
    finally:
        attention.reorder_and_upcast_attn = False
        model.set_attn_implementation("sdpa")


def test_a_call_that_fails_leaves_the_taps_as_they_were():
    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    before, plain = configs(model), model(ids).last_hidden_state

    class Failing(Observer):
        def see(self, name, seen):
            raise KeyboardInterrupt

    with tapped(model, Failing()), pytest.raises(KeyboardInterrupt):
        model(ids)
    assert configs(model) == before
    with tapped(model, Observer()) as observer, model.layers[1].register_forward_pre_hook(lambda *_: {}["broken"]):
        with pytest.raises(KeyError):
            model(ids)
        assert len(observer.seen) == 1
    assert configs(model) == before
    assert torch.equal(model(ids).last_hidden_state, plain)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_a_copy_of_a_tapped_model_observes_for_itself(way):
    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    plain = model(ids).last_hidden_state
    with tapped(model, Observer()) as observer:
        if way == "deepcopy":
            twin = copy.deepcopy(model)
        elif way == "pickle":
            twin = pickle.loads(pickle.dumps(model))
        else:
            stream = io.BytesIO()
            torch.save(model, stream)
            stream.seek(0)
            twin = torch.load(stream, weights_only=False)
        assert torch.equal(twin(ids).last_hidden_state, plain)
        assert not observer.seen
        for module in reached(twin).values():
            (tap,) = module.config.parts
            assert tap.observe.__self__.seen
            tap.remove()
        model(ids)
        assert len(observer.seen) == 2
    assert not any(isinstance(module.config, View) for module in reached(twin).values())
    assert torch.equal(twin(ids).last_hidden_state, plain)


def test_a_tapped_model_is_saved_as_ever(tmp_path):
    model = copy.deepcopy(small("Llama"))
    model.save_pretrained(tmp_path / "before")
    names = list(model.state_dict())
    with tapped(model, Observer()):
        assert list(model.state_dict()) == names
        model.save_pretrained(tmp_path / "while")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("before", "while")]
    assert files[0] == files[1]


def test_two_models_with_one_configuration_and_two_threads():
    from transformers import LlamaModel

    model, batches = small("Llama"), [torch.arange(start, start + 6)[None] for start in (0, 6, 12, 18)]
    other = LlamaModel(model.config).eval().requires_grad_(False)
    assert other.layers[0].self_attn.config is model.layers[0].self_attn.config
    expected = [[each(ids).last_hidden_state for ids in batches] for each in (model, other)]
    with tapped(model, Observer()) as observer:
        assert same([other(ids).last_hidden_state for ids in batches], expected[1])
        assert not observer.seen

        def job(each, number):
            for _ in range(5):
                assert torch.equal(each(batches[number]).last_hidden_state, expected[each is other][number])

        with tapped(other, Observer()) as others:
            run_together([lambda e=e, n=n: job(e, n) for e in (model, other) for n in range(4)])
    assert len(observer.seen) == len(others.seen) == 40


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_gradients_are_the_same_and_what_is_computed_again_is_not_seen_again(reentrant):
    model, ids = copy.deepcopy(small("Llama")).train().requires_grad_(), torch.arange(6)[None]
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})

    def gradients():
        model.zero_grad()
        model(inputs_embeds=model.embed_tokens(ids)).last_hidden_state.square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    plain = gradients()
    with tapped(model, Observer()) as observer:
        assert same(gradients(), plain)
    assert len(observer.seen) == 2


def test_low_rank_adapters_may_come_before_or_after():
    peft = pytest.importorskip("peft")

    ids = torch.arange(6)[None]
    for first in (True, False):
        model = copy.deepcopy(small("Llama"))
        taps = taps_of(model, observer := Observer())
        for tap in taps if first else ():
            tap.install()
        wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        if first:
            for tap in taps:
                tap.remove()
        plain = wrapped(input_ids=ids).last_hidden_state
        for tap in taps:
            tap.install()
        assert torch.equal(wrapped(input_ids=ids).last_hidden_state, plain)
        assert len(observer.seen) == 2


@pytest.mark.parametrize("first", [True, False])
def test_offloaded_weights(first):
    from accelerate import cpu_offload

    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    plain, taps = model(ids).last_hidden_state, taps_of(model, observer := Observer())
    for tap in taps if first else ():
        tap.install()
    cpu_offload(model, execution_device=torch.device("cpu"))
    for tap in () if first else taps:
        tap.install()
    assert torch.equal(model(ids).last_hidden_state, plain)
    assert len(observer.seen) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Llama", "Gemma2"])
def test_a_compiled_model_is_observed_in_every_call(kind, compiler):
    model = copy.deepcopy(small(kind))
    compiled, batches = compiler(model), [torch.arange(6)[None], torch.arange(10).view(2, 5), torch.arange(6)[None]]
    plain = [compiled(ids).last_hidden_state for ids in batches]
    taps = taps_of(model, observer := Observer())
    for tap in taps:
        tap.install()
    for ids, expected in zip(batches, plain, strict=True):
        assert torch.allclose(compiled(ids).last_hidden_state, expected, atol=1e-6)
        assert len(observer.seen) == 2
        assert observer.seen[0][1].query.shape[2] == ids.shape[1]
        observer.seen.clear()
    for tap in taps:
        tap.remove()
    assert torch.allclose(compiled(batches[0]).last_hidden_state, plain[0], atol=1e-6)
    assert not observer.seen


def test_a_tap_may_come_while_a_generation_goes_on():
    model, inputs = lent("llava")
    (plain,) = list(answers(model, inputs, "greedy"))[1:]
    observer, calls = Observer(), []
    taps = taps_of(model.model.language_model, observer)

    def step(module, args):
        calls.append(None)
        for tap in taps if len(calls) in (2, 3) else ():
            tap.install() if len(calls) == 2 else tap.remove()

    with model.register_forward_pre_hook(step):
        (found,) = list(answers(model, inputs, "greedy"))[1:]
    assert torch.equal(found, plain)
    assert observer.seen


def test_a_module_with_an_interface_of_its_own_has_its_own_implementations(monkeypatch):
    import transformers.models.llama.modeling_llama as file
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    own = AttentionInterface()
    own["sdpa"] = lambda *args, **kwargs: (2 * sdpa_attention_forward(*args, **kwargs)[0], None)
    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    plain = model(ids).last_hidden_state
    monkeypatch.setattr(file, "ALL_ATTENTION_FUNCTIONS", own)
    louder = model(ids).last_hidden_state
    assert not torch.equal(louder, plain)
    with tapped(model, Observer()) as observer:
        assert torch.equal(model(ids).last_hidden_state, louder)
    assert len(observer.seen) == 2


def test_a_tap_that_leaves_in_another_thread_just_before_attention_is_computed(monkeypatch):
    import transformers.models.llama.modeling_llama as file

    model, ids = copy.deepcopy(small("Llama")), torch.arange(6)[None]
    plain, real = model(ids).last_hidden_state, file.ALL_ATTENTION_FUNCTIONS
    taps = taps_of(model, observer := Observer())

    class Leaving:
        def get_interface(self, name, default):
            found = real.get_interface(name, default)
            for tap in taps:
                tap.remove()
            return found

    for tap in taps:
        tap.install()
    monkeypatch.setattr(file, "ALL_ATTENTION_FUNCTIONS", Leaving())
    assert torch.equal(model(ids).last_hidden_state, plain)
    assert not observer.seen


def test_a_tap_that_was_never_put_on_is_removed_without_harm():
    model = small("Llama")
    before = configs(model)
    for tap in taps_of(model, Observer()):
        tap.remove()
    assert configs(model) == before
    assert isinstance(tap, Tap)
