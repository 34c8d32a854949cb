import pytest
import torch
from PIL import Image

from tokprune.cli.picture import voter_weights, watched
from tokprune.signal import Signal
from tokprune.votes import Votes


@pytest.fixture
def picture(tmp_path):
    Image.effect_noise((40, 20), 80).convert("RGB").save(tmp_path / "in.png")
    return tmp_path / "in.png"


def test_answer_shows_every_level_and_saves_a_picture(tokprune, checkpoint, picture, tmp_path):
    result = tokprune(
        *("answer", checkpoint, "--image", picture, "--prompt", "what colour is the circle?"),
        *("--keep", "1/2", "--keep", "2", "--scorer", "l2-norm", "--scorer", "catp-vote", "--out", "new/picture.png"),
    )
    assert result.exit_code == 0, result.output
    assert "unpruned" in result.stdout
    assert result.stdout.count("4 of 8") == 2
    assert result.stdout.count("2 of 8") == 2
    with Image.open(tmp_path / "new" / "picture.png") as drawn:
        assert drawn.width > 500


def test_answer_asks_a_sample_of_the_bundled_data(tokprune, checkpoint, tmp_path):
    from tokprune.zoo import load_dataset

    result = tokprune("answer", checkpoint, "--sample", 2, "--keep", 2)
    assert result.exit_code == 0, result.output
    sample = load_dataset("shapes-vqa", split="test", n=3, seed=0)[2]
    assert sample.question in result.stdout
    assert f"accepted: {sample.answer}" in result.stdout
    assert (tmp_path / "answer.png").exists()


def test_a_sample_that_is_not_there(tokprune, tmp_path, picture):
    (tmp_path / "mine.jsonl").write_text('{"image": "in.png", "question": "what?", "answers": "red"}\n')
    result = tokprune("answer", "--data", "mine.jsonl", "--sample", 1)
    assert result.exit_code == 2
    assert "has 1 samples" in result.stderr


def test_voter_weights_leave_cls_out_of_the_grid():
    attention = torch.zeros(1, 2, 5, 5)  # image, head, voter, token: [CLS] and a 2 x 2 grid
    attention[..., 0] = 0.5
    attention[..., 3] = 0.5
    signal = Signal(encoder_attention=[Votes(torch.zeros(1, 10, 5), heads=2), Votes(attention.flatten(1, 2), heads=2)])
    assert voter_weights(signal).tolist() == [[0, 0], [5, 0]]


def test_watched_is_the_attention_of_kept_tokens_only():
    looks = torch.zeros(2, 4, 3)  # head, voter of a 2 x 2 grid, token
    looks[:, 0, 0] = 1
    looks[0, 3, 1] = 1
    looks[1, 2, 1] = 1
    looks[:, 1, 2] = 1
    votes = [Votes(looks.flatten(0, 1)[None], heads=2)] * 2
    assert watched(votes, torch.tensor([True, True, False])).tolist() == [[1, 0], [0.5, 0.5]]
    assert watched(votes, torch.tensor([False, False, True])).tolist() == [[0, 1], [0, 0]]


def test_tokens_that_are_no_square_have_no_map():
    assert watched([Votes(torch.zeros(1, 7, 3))], torch.tensor([True, True, False])) is None
