import pytest
import torch
from PIL import Image

from tokprune.cli.panels import Level, Panels
from tokprune.cli.picture import seen, stayed, voter_weights, watched
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


def test_answer_about_image_tokens(tokprune, checkpoint, picture, tmp_path):
    command = ["answer", checkpoint, "--image", picture, "--prompt", "what colour is the circle?", "--target", "image"]
    result = tokprune(*command, "--keep", "1/4", "--after", "2", "--reduction", "merge")
    assert result.exit_code == 0, result.output
    assert "received-attention" in result.stdout
    assert "16 of 64" in result.stdout
    assert (tmp_path / "answer.png").exists()


def test_answer_by_another_selector(tokprune, checkpoint, tmp_path):
    found = {}
    for selector in ("top-k", "top-p"):
        result = tokprune("answer", checkpoint, "--keep", "1/2", "--scorer", "first", "--selector", selector)
        assert result.exit_code == 0, result.output
        found[selector] = "4 of 8" in result.stdout
    assert found == {"top-k": True, "top-p": False}


def test_answer_with_policies_that_act_together(tokprune, checkpoint, picture, tmp_path):
    both = "first target=image keep=1/4 after=every + first keep=2"
    result = tokprune("answer", checkpoint, "--sample", 1, "--policy", both, "--policy", "none", "--policy", "first")
    assert result.exit_code == 0, result.output
    assert both in result.stdout
    assert "image 16 of 64, query 2 of 8" in result.stdout
    assert "query 4 of 8" in result.stdout
    assert "none" not in result.stdout
    assert (tmp_path / "answer.png").exists()


@pytest.fixture(scope="module")
def tiny(checkpoint):
    """Model, inputs of one image, and what its forward takes."""
    from tokprune.bench.answering import forward_inputs, prepare
    from tokprune.bench.loading import load_checkpoint
    from tokprune.bench.noise import noise_samples

    model, processor = load_checkpoint(checkpoint)
    return model, forward_inputs(model, prepare(model, processor, noise_samples(1)))


def level(tiny, *policies, keep=None):
    from tokprune import apply

    model, inputs = tiny
    with apply(model, list(policies)) as handles:
        model(**inputs)
    kept = {target: report.kept[0] for target, report in handles.reports.items()}
    return Level("label", keep, {handle.target: handle.policy for handle in handles}, kept, "red")


UNPRUNED = Level("unpruned", None, {}, {}, "blue")


def test_image_tokens_that_left_are_dark(tiny):
    from tokprune import Policy

    first = level(tiny, Policy("first", 20, target="image"), keep=20)
    question, panel = Panels(*tiny).of("what?", [UNPRUNED, first])
    assert question == ("what?\nunpruned: blue", None)
    title, overlay = panel
    assert title == "label, keep 20 tokens\nred"
    assert overlay.flatten().tolist() == [1] * 20 + [0] * 44
    assert overlay.shape == (8, 8)


def test_query_tokens_look_only_at_the_image_tokens_that_stayed(tiny):
    from tokprune import Policy

    image, query = Policy("stride", 8, target="image"), Policy("first", 2)
    panels = Panels(*tiny).of("what?", [UNPRUNED, level(tiny, query, keep=2), level(tiny, image, query)])
    titles = [title for title, _ in panels]
    assert titles[1:3] == ["voters' weight\n(attention received)", "label, keep 2 tokens\nred"]
    assert titles[3:] == ["image: stride, keep 8 tokens\nred", "query: first, keep 2 tokens\nred"]
    maps = [overlay for _, overlay in panels]
    assert (maps[2] > 0).all(), "without a cut in the encoder the query tokens look everywhere"
    there = maps[3] > 0
    assert there.sum() == 8
    assert torch.equal(maps[4] > 0, there)
    assert maps[4].sum() > maps[2][there].sum(), "what they do not look at any more, they give to what is left"


def test_tokens_that_do_not_fill_the_grid_have_no_map():
    kept = torch.tensor([True, False, True, True, False, False])
    assert stayed(kept, (2, 3)).tolist() == [[1, 0, 1], [1, 0, 0]]
    assert stayed(kept, (3, 3)) is None


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


def test_watched_puts_what_is_seen_where_it_is_on_the_image():
    looks = torch.zeros(1, 3, 2)  # head, voter, token: [CLS] and the two of a 2 x 2 grid that stayed
    looks[0, 0, 0], looks[0, 1, 0], looks[0, 2, 0] = 0.5, 0.25, 0.125
    kept, there = torch.tensor([True, False]), torch.tensor([False, True, False, True])
    assert watched([Votes(looks)], kept, there).tolist() == [[0, 0.25], [0, 0.125]]


def test_tokens_that_are_no_square_have_no_map():
    assert watched([Votes(torch.zeros(1, 7, 3))], torch.tensor([True, True, False])) is None


def test_the_picture_is_drawn_as_the_model_sees_it():
    import savedfolders as saved

    wide = Image.new("RGB", (32, 16), "white")
    wide.paste("red", (8, 0, 24, 16))  # LLaVA's processor cuts out the middle
    _, processor = saved.llava()
    inputs = processor(images=wide, text="<image>", return_tensors="pt")
    middle = seen(wide, inputs, processor)
    assert middle.size == (16, 16)
    assert middle.getcolors() == [(256, (255, 0, 0))]
    _, processor = saved.qwen2_5_vl()
    inputs = processor(images=wide, text="<|image_pad|>", return_tensors="pt")
    assert seen(wide, inputs, processor) is wide
