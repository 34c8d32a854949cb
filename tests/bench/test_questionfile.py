import json

import pytest
from PIL import Image

from tokprune.bench.questionfile import QuestionFile, draw
from tokprune.errors import InvalidValueError

GOOD = {"image": "pictures/a.png", "question": "what is it?", "answers": "red"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("L", (6, 4), 200).save(tmp_path / "pictures" / "a.png")
    return tmp_path


def write(folder, *lines):
    path = folder / "questions.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_lines_become_samples_with_paths_relative_to_the_file(folder):
    path = write(folder, GOOD, "", GOOD | {"answers": ["red", "crimson"], "kind": "colour"})
    first, second = QuestionFile(path)
    assert (first.id, first.question, first.answers, first.kind) == ("line-1", "what is it?", ("red",), "")
    assert (second.id, second.answers, second.kind) == ("line-3", ("red", "crimson"), "colour")
    assert (first.image.mode, first.image.size) == ("RGB", (6, 4))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "expected a JSON object, got list"),
        ({"image": "pictures/a.png"}, "missing: answers"),
        (GOOD | {"answers": []}, "'answers' must be"),
        (GOOD | {"answers": [1]}, "'answers' must be"),
        (GOOD | {"answers": " "}, "'answers' must be"),
        (GOOD | {"question": ""}, "'question' must be"),
        (GOOD | {"image": "pictures/b.png"}, "no image at"),
        (GOOD | {"image": "x" * 5000}, "no image at"),
        (GOOD | {"question": "what \ud83d"}, "'question': half of a character"),
        (GOOD | {"answers": ["red", "\udcff"]}, "'answers': half of a character"),
        (GOOD | {"kind": "\udcff"}, "'kind': half of a character"),
        ("[" * 100_000, "nested too deeply"),
        ('{"image": ' + "1" * 5000 + "}", "JSON that cannot be read"),
    ],
)
def test_errors_name_file_and_line(folder, line, complaint):
    path = write(folder, GOOD, line)
    with pytest.raises(InvalidValueError, match=complaint) as caught:
        QuestionFile(path)
    assert f"{path}:2: " in str(caught.value)


def test_a_broken_picture_is_found_when_it_is_opened(folder):
    (folder / "pictures" / "a.png").write_bytes(b"no picture")
    samples = QuestionFile(write(folder, GOOD))
    with pytest.raises(InvalidValueError, match=r"questions.jsonl:1: cannot open"):
        samples[0]


def test_missing_and_empty_files(folder):
    with pytest.raises(InvalidValueError, match="cannot read"):
        QuestionFile(folder / "nothing.jsonl")
    with pytest.raises(InvalidValueError, match="is empty"):
        QuestionFile(write(folder, "", ""))


def test_draw_is_seeded_and_in_order(folder):
    samples = QuestionFile(write(folder, *[GOOD] * 20))
    ids = [sample.id for sample in draw(samples, 5, seed=1)]
    assert ids == [sample.id for sample in draw(samples, 5, seed=1)]
    assert ids != [sample.id for sample in draw(samples, 5, seed=2)]
    assert ids == sorted(ids, key=lambda name: int(name.removeprefix("line-")))
    assert len(set(ids)) == 5
    assert len(draw(samples, 99, seed=1)) == len(draw(samples, None, seed=1)) == 20
    with pytest.raises(InvalidValueError, match="at least 1"):
        draw(samples, 0, seed=1)
