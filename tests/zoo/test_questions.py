"""Questions: right, unambiguous, balanced, and made of known words."""

import random
from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprune.zoo import load_dataset
from tokprune.zoo.processor import build_tokenizer
from tokprune.zoo.questions import ANSWERS, KINDS, Question, choose, questions
from tokprune.zoo.scenes import draw_scene
from tokprune.zoo.vocabulary import PROMPT_TEMPLATE, VOCABULARY

from .checker import answer

N = 1050


@pytest.fixture(scope="module")
def asked() -> list[tuple[str, str, str]]:
    """Kind, question and answer of many test samples."""
    data = load_dataset("shapes-vqa", split="test", n=N, seed=3)
    drawn = (data.scene(index) for index in range(N))
    return [(kind, question.text, question.answer) for _, question, kind in drawn]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(KINDS))
def test_every_answer_is_right(seed: int, kind: str) -> None:
    scene = draw_scene(random.Random(seed))
    for question in questions(scene, kind):
        assert answer(scene, question.text) == question.answer, (question, scene)
        assert question.form in ANSWERS[kind]


def test_the_same_words_never_get_two_answers() -> None:
    for seed in range(50):
        scene = draw_scene(random.Random(seed))
        by_text: dict[str, set[str]] = {}
        for kind in KINDS:
            for question in questions(scene, kind):
                by_text.setdefault(question.text, set()).add(question.answer)
        assert all(len(answers) == 1 for answers in by_text.values())


def test_samples_of_the_data_set_are_right() -> None:
    data = load_dataset("shapes-vqa", split="test", n=70)
    for index in range(70):
        scene, question, kind = data.scene(index)
        sample = data[index]
        assert (sample.question, sample.answers, sample.kind) == (question.text, (question.answer,), kind)
        assert answer(scene, sample.question) == sample.answer


def test_kinds_are_equally_many_and_the_answers_of_a_form_balanced() -> None:
    data = load_dataset("shapes-vqa", split="test", n=N, seed=3)
    drawn = [data.scene(index) for index in range(N)]
    assert set(Counter(kind for _, _, kind in drawn).values()) == {N // len(KINDS)}
    for kind in KINDS:
        forms = Counter(question.form for _, question, of in drawn if of == kind)
        assert set(forms) == set(ANSWERS[kind])
        assert_fair(forms.values())
        for form, answers in ANSWERS[kind].items():
            counts = Counter(q.answer for _, q, of in drawn if (of, q.form) == (kind, form))
            assert set(counts) <= set(answers)
            assert_fair([counts[said] for said in answers])


def assert_fair(counts: Collection[int]) -> None:
    """Within four standard deviations of a fair draw."""
    fair = sum(counts) / len(counts)
    assert all(abs(count - fair) < 4 * fair**0.5 for count in counts), counts


def test_the_words_of_a_question_do_not_give_its_answer_away(asked: list[tuple[str, str, str]]) -> None:
    """The best blind guesser that knows every question's usual answer, trained on half and scored on the rest."""
    usual: dict[str, Counter[str]] = {}
    for _, text, said in asked[: N // 2]:
        usual.setdefault(text, Counter())[said] += 1
    right = [text in usual and usual[text].most_common(1)[0][0] == said for _, text, said in asked[N // 2 :]]
    assert sum(right) / len(right) < 0.5


def test_choose_is_fair_to_answers() -> None:
    candidates = [Question("form", f"{i}?", "yes") for i in range(9)] + [Question("form", "9?", "no")]
    rng = random.Random(0)
    assert 60 < sum(choose(candidates, rng).answer == "no" for _ in range(200)) < 140


def test_the_vocabulary_covers_everything(asked: list[tuple[str, str, str]]) -> None:
    tokenizer = build_tokenizer()
    assert len(VOCABULARY) == len(set(VOCABULARY)) == len(tokenizer)
    for _, text, said in asked:
        assert tokenizer.unk_token_id not in tokenizer(PROMPT_TEMPLATE.format(text))["input_ids"], text
        assert len(tokenizer(said, add_special_tokens=False)["input_ids"]) == 1
    assert {said for forms in ANSWERS.values() for answers in forms.values() for said in answers} <= set(VOCABULARY)
