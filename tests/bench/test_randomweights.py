import pytest
import torch

from tokprune.bench.loading import load_checkpoint
from tokprune.bench.oracle import Gift, kept_rows, oracle_generate
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.randomweights import random_model
from tokprune.bench.sizes import real_size_config
from tokprune.errors import InvalidValueError
from tokprune.zoo.processor import build_processor

OPTIONS = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
TINY = ("blip2-opt-2.7b:scale=0.05", "blip2-flan-t5-xl:scale=0.05", "instructblip-vicuna-7b:scale=0.04")


@pytest.fixture(scope="module", params=TINY)
def name(request):
    return request.param


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_each_weight_has_the_dtype_that_from_pretrained_gives_it(name, dtype, tmp_path):
    random_model(real_size_config(name)).save_pretrained(tmp_path)
    build_processor(32).save_pretrained(tmp_path)
    loaded, _ = load_checkpoint(tmp_path, dtype=dtype)
    wanted = {key: tensor.dtype for key, tensor in (*loaded.named_parameters(), *loaded.named_buffers())}
    made = random_model(real_size_config(name), dtype=dtype)
    assert {key: tensor.dtype for key, tensor in (*made.named_parameters(), *made.named_buffers())} == wanted
    assert len({tensor.dtype for tensor in loaded.parameters()}) == (2 if dtype == "float16" else 1)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_nothing_overflows(name, dtype):
    model = random_model(real_size_config(name), dtype=dtype)
    made = model.generate(**random_inputs(model, 2), **OPTIONS, output_logits=True, return_dict_in_generate=True)
    assert all(step.isfinite().all() for step in made.logits)
    assert 0.3 < made.logits[0].float().std() < 30


def test_every_weight_and_buffer_is_there_and_tied_ones_are_one(name):
    model = random_model(real_size_config(name))
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    text = model.language_model
    tied = text.get_output_embeddings().weight is text.get_input_embeddings().weight
    assert tied == ("vicuna" not in name)


@pytest.mark.parametrize("name", [each for each in TINY if each.startswith("blip2")])
def test_an_answer_depends_on_which_tokens_stay(name):
    """Else an oracle that is handed the wrong ones would go unnoticed."""
    model = random_model(real_size_config(name))
    inputs = random_inputs(model, 4)
    kept = torch.zeros(2, 4, 32, dtype=torch.bool)
    kept[0, :, :8] = kept[1, :, 8:16] = True
    rows = [kept_rows(inputs["input_ids"], each, model.config.image_token_id) for each in kept]
    one, other = (oracle_generate(model, inputs, Gift(each), **OPTIONS) for each in rows)
    assert (one != other).any(dim=1).sum() >= 3


def test_depth_does_not_make_all_answers_alike():
    """Sums that are not zero in the mean would add up, layer by layer, to the same vector for every input."""
    config = real_size_config("blip2-opt-2.7b:scale=0.05")
    config.text_config.num_hidden_layers = 24
    model = random_model(config)
    generator = torch.Generator().manual_seed(0)
    prompts = 0.1 * torch.randn(2, 12, config.text_config.hidden_size, generator=generator)
    one, other = model.language_model(inputs_embeds=prompts).logits[:, -1]
    assert (one - other).std() > 1.05 * one.std(), "1.41 if they had nothing in common; 0.8 with plain random weights"


def test_a_seed_draws_the_same_weights_again_and_another_draws_others():
    config = real_size_config(TINY[0])
    first, again, other = (random_model(config, seed=seed).query_tokens for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_device_or_an_attention_that_is_not_there_is_named():
    with pytest.raises(InvalidValueError, match="device 'cuda:99'"):
        random_model(real_size_config(TINY[0]), device="cuda:99")
    with pytest.raises(InvalidValueError, match="attention 'nothing'"):
        random_model(real_size_config(TINY[0]), attention="nothing")
