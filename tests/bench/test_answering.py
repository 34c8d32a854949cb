import pytest
import torch

from tokprune.bench.answering import batches, forward_inputs, generate_answers, is_encoder_decoder, prepare
from tokprune.bench.blind import blind, can_be_blind
from tokprune.bench.noise import noise_samples
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.samples import Sample


def samples_of_different_length():
    pictures = [sample.image for sample in noise_samples(3)]
    questions = ["what colour is the circle?", "how many are there?", "is there a large red square at the top?"]
    return [Sample(str(i), p, q, ("red",)) for i, (p, q) in enumerate(zip(pictures, questions, strict=True))]


def test_answers_are_the_text_after_the_prompt_and_do_not_depend_on_batch_mates(model, processor):
    samples = samples_of_different_length()
    together = generate_answers(model, processor, prepare(model, processor, samples), 6)
    alone = [generate_answers(model, processor, prepare(model, processor, [each]), 6)[0] for each in samples]
    assert together == alone
    assert all(together), "a random model says something"
    inputs = prepare(model, processor, samples[:1])
    ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0]
    new = ids if is_encoder_decoder(model) else ids[inputs["input_ids"].shape[1] :]
    assert together[0] == processor.decode(new, skip_special_tokens=True).strip()


def test_forward_inputs_are_enough_for_a_forward(model, processor):
    inputs = forward_inputs(model, prepare(model, processor, noise_samples(2)))
    with torch.no_grad():
        assert model(**inputs).logits.shape[0] == 2


def test_prepare_wants_a_place_for_the_question(opt, processor):
    with pytest.raises(InvalidValueError, match="where the question goes"):
        prepare(opt, processor, noise_samples(1), "Question:")


def test_a_question_with_braces_is_a_question(opt, processor):
    sample = Sample("0", noise_samples(1)[0].image, "what {} is {it}?", ("red",))
    assert prepare(opt, processor, [sample])["input_ids"].shape[0] == 1


def test_a_model_that_does_not_write_is_refused(processor):
    with pytest.raises(InvalidValueError, match="no `generate`"):
        generate_answers(torch.nn.Linear(1, 1), processor, {})


def test_batches():
    assert [len(batch) for batch in batches(noise_samples(5), 2)] == [2, 2, 1]
    with pytest.raises(InvalidValueError, match="at least 1"):
        next(batches(noise_samples(1), 0))


def test_blind_hides_the_picture_and_gives_it_back(model, processor):
    first, second = (forward_inputs(model, prepare(model, processor, [each])) for each in noise_samples(2))
    with torch.no_grad():
        seen = model(**first).logits
        assert not torch.equal(seen, model(**second).logits)
        with blind(model):
            assert torch.equal(model(**first).logits, model(**second).logits)
        assert torch.equal(model(**first).logits, seen)


def test_blind_needs_a_known_prefix():
    stranger = torch.nn.Linear(1, 1)
    assert not can_be_blind(stranger)
    with pytest.raises(AdapterError, match="language_projection"), blind(stranger):
        pass


def test_an_error_in_the_block_leaves_nothing_behind(opt):
    hooks = dict(opt.language_projection._forward_hooks)
    with pytest.raises(RuntimeError, match="stop"), blind(opt):
        raise RuntimeError("stop")
    assert dict(opt.language_projection._forward_hooks) == hooks
