import pytest
import savedfolders as saved

from tokprune.bench.answering import generate_answers, prepare
from tokprune.bench.noise import noise_samples
from tokprune.bench.prompts import template_for
from tokprune.errors import InvalidValueError


@pytest.fixture(scope="module")
def llava():
    return saved.llava()


def test_the_chat_template_is_what_a_model_is_asked_with(llava):
    model, processor = llava
    assert template_for(model, processor) == "user : <image> {} assistant :"
    (sample,) = noise_samples(1)
    turn = [{"type": "image", "image": sample.image}, {"type": "text", "text": sample.question}]
    theirs = processor.apply_chat_template(
        [{"role": "user", "content": turn}], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert prepare(model, processor, [sample])["input_ids"].tolist() == [list(theirs["input_ids"][0])]


def test_a_template_that_begins_the_text_itself_has_one_beginning(llava):
    model, processor = llava
    ids = prepare(model, processor, noise_samples(1), "<s> <image> {}")["input_ids"]
    assert (ids == processor.tokenizer.bos_token_id).sum() == 1


@pytest.mark.parametrize(
    ("family", "template"),
    [
        (saved.blip2, "Question: {} Short answer:"),
        (saved.paligemma, "<image>answer en {}"),
        (saved.mllama_base, "<|image|>\n{}"),
        (saved.blip_vqa, "{}"),
        (saved.blip, ""),
        (saved.vision_encoder_decoder, ""),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_without_a_chat_template_a_family_is_asked_in_its_own_way(family, template):
    assert template_for(*family()) == template


def test_a_template_without_its_places_is_refused(llava):
    with pytest.raises(InvalidValueError, match=r"'\{\}' where the question goes"):
        template_for(*llava, "<image>")
    with pytest.raises(InvalidValueError, match="expected '<image>' where the image goes, as this Llava"):
        template_for(*llava, "Question: {}")
    with pytest.raises(InvalidValueError, match="is given no text; leave the template out"):
        template_for(*saved.vision_encoder_decoder(), "{}")


def test_a_caption_goes_on_with_the_template():
    model, processor = saved.blip()
    samples = noise_samples(2)
    inputs = prepare(model, processor, samples, "a picture of")
    said = generate_answers(model, processor, inputs, 3)
    whole = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    texts = processor.batch_decode(whole, skip_special_tokens=True)
    prompt = processor.decode(inputs["input_ids"][0], skip_special_tokens=True)
    assert [f"{prompt} {text}".strip() for text in said] == texts
    samples[1] = type(samples[1])("two", samples[1].image, "what is this here ?", ("a",))
    with pytest.raises(InvalidValueError, match="different lengths in one batch"):
        prepare(model, processor, samples, "{}")
