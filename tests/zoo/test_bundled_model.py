"""The bundled model: loads, answers, and answers as well as its card says."""

import json
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoProcessor, Blip2ForConditionalGeneration, Blip2Processor

from tokprune import errors
from tokprune.zoo import PROMPT_TEMPLATE, list_models, load_dataset, load_model, model_path
from tokprune.zoo.evaluate import answers, blinded, evaluate
from tokprune.zoo.questions import KINDS

Bundled = tuple[Any, Any]
QUESTIONS = 420


@pytest.fixture(scope="module")
def scores(bundled: Bundled) -> dict[str, Any]:
    """Scores on questions that the card's scores were not taken from."""
    return evaluate(*bundled, load_dataset("shapes-vqa", split="test", n=QUESTIONS, seed=1))


def test_accuracy(scores: dict[str, Any]) -> None:
    """The model has 95% and 90% of each kind on the thousands of questions of its card.

    Here are few, so two standard deviations of sampling are allowed: 2% of 420, 8% of 60.
    """
    assert scores["questions"] == QUESTIONS
    assert scores["accuracy"] > 0.95 - 0.02
    assert set(scores["kinds"]) == set(KINDS)
    for kind, score in scores["kinds"].items():
        assert score["questions"] == QUESTIONS // len(KINDS)
        assert score["accuracy"] > 0.90 - 0.08, kind


def test_blind_it_can_only_guess(scores: dict[str, Any]) -> None:
    assert scores["blind"] < 0.55
    assert scores["blind"] < scores["accuracy"] - 0.35


def test_the_card_holds_what_was_promised() -> None:
    card = json.loads((model_path() / "card.json").read_text())
    assert card["command"].startswith("python -m tokprune.zoo.train --out FOLDER")
    assert card["scores"]["questions"] >= 2000
    assert card["scores"]["accuracy"] >= 0.95
    assert all(score["accuracy"] >= 0.90 for score in card["scores"]["kinds"].values())
    assert card["scores"]["blind"] < 0.55
    assert set(card["versions"]) >= {"python", "torch", "transformers"}


def test_a_folder_like_any_other(bundled: Bundled) -> None:
    """What `from_pretrained` makes of the folder answers the same."""
    model = Blip2ForConditionalGeneration.from_pretrained(model_path())
    processor = AutoProcessor.from_pretrained(model_path())
    assert isinstance(processor, Blip2Processor)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    samples = load_dataset(n=14, seed=2)
    assert answers(model.eval(), processor, samples) == answers(*bundled, samples)


def test_load_model() -> None:
    model, _ = load_model(dtype=torch.bfloat16)
    assert not model.training
    assert model.language_model.dtype == torch.bfloat16
    assert list_models() == ["blip2-shapes"]
    for ask in (load_model, model_path):
        with pytest.raises(errors.UnknownNameError, match="Did you mean 'blip2-shapes'"):
            ask("blip2-shape")


def test_small_and_stored_in_half_precision() -> None:
    folder = model_path()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_shape_of_the_real_thing(bundled: Bundled) -> None:
    model, _ = bundled
    assert model.config.text_config.model_type == "opt"
    assert model.query_tokens.shape == (1, 32, 128)
    assert all(layer.has_cross_attention for layer in model.qformer.encoder.layer)
    # Queries that started as zeros would all be one.
    assert torch.cdist(model.query_tokens[0], model.query_tokens[0]).fill_diagonal_(9).min() > 1


def test_layout_of_the_prompt(bundled: Bundled) -> None:
    """Image placeholders, then padding, then BOS and the words."""
    _, processor = bundled
    sample = load_dataset(n=1)[0]
    texts = [PROMPT_TEMPLATE.format(q) for q in ("What COLOR is the circle?", "is there a small cross?")]
    inputs = processor(images=[sample.image] * 2, text=texts, padding=True, return_tensors="pt")
    tokenizer = processor.tokenizer
    image = tokenizer.convert_tokens_to_ids("<image>")
    assert (inputs["input_ids"][:, :32] == image).all()
    assert (inputs["input_ids"][:, 32:] != image).all()
    first, second = (tokenizer.convert_ids_to_tokens(row) for row in inputs["input_ids"][:, 32:].tolist())
    assert first == ["<s>", "question", ":", "what", "colour", "is", "the", "circle", "?", "short", "answer", ":"]
    assert second == ["<s>", "question", ":", "is", "there", "a", "small", "cross", "?", "short", "answer", ":"]
    short = processor(images=[sample.image] * 2, text=[texts[0], "circle"], padding=True, return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(short["input_ids"][1, 32:].tolist())[-3:] == ["<pad>", "<s>", "circle"]
    assert short["attention_mask"][1].tolist() == [1] * 32 + [0] * 10 + [1] * 2


def test_one_word_and_stop(bundled: Bundled) -> None:
    model, processor = bundled
    sample = load_dataset(n=1)[0]
    text = PROMPT_TEMPLATE.format(sample.question)
    inputs = processor(images=sample.image, text=text, return_tensors="pt")
    generated = model.generate(**inputs, max_new_tokens=5)
    assert generated.shape[1] == inputs["input_ids"].shape[1] + 2
    assert generated[0, -1] == processor.tokenizer.eos_token_id
    said = processor.batch_decode(generated, skip_special_tokens=True)[0]
    assert said == f"question : {sample.question[:-1]} ? short answer : {sample.answer}".replace("  ", " ")


def test_blinded_ends_with_its_block(bundled: Bundled) -> None:
    model, processor = bundled
    samples = load_dataset(n=35, seed=4)
    before = answers(model, processor, samples)
    with blinded(model):
        blind = answers(model, processor, samples)
    assert blind != before
    assert answers(model, processor, samples) == before
    assert not model.language_projection._forward_hooks
