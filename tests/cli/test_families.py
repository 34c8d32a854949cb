"""`inspect`, `answer` and `bench` on a saved folder of each family, with a real processor of transformers."""

import json

import pytest
import savedfolders as saved
from PIL import Image

FAMILIES = {family.__name__: family for family in (*saved.IN_PROMPT, *saved.OTHERS)}
NO_GRID = {"llava_next", "llava_onevision", "internvl", "aya_vision"}
"""Those that see the pictures here in tiles."""


@pytest.fixture(scope="session")
def questions(tmp_path_factory):
    return saved.questions(tmp_path_factory.mktemp("questions"))


QUICK = {"llava", "qwen2_5_vl", "mllama", "blip_vqa", "vision_encoder_decoder"}


@pytest.fixture(params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES])
def family(request):
    return request.param


def test_every_family_runs_from_the_command_line(tokprune, family, tmp_path, questions):
    folder = saved.save(FAMILIES[family], tmp_path / "model")
    one = ["--scorer", "l2-norm", "--keep", "1/2", "--max-new-tokens", 2]

    shown = tokprune("inspect", folder)
    assert shown.exit_code == 0, shown.output
    assert "tokens per image" in shown.stdout, "the processor was used"

    picture = questions.parent / "0.png"
    asked = tokprune("answer", folder, "--image", picture, "--prompt", "what colour is the circle ?", *one)
    assert asked.exit_code == 0, asked.output
    assert "unpruned" in asked.stdout
    assert ("no map" in asked.stderr) == (family in NO_GRID)
    with Image.open(tmp_path / "answer.png") as drawn:
        assert drawn.width > 500

    result = tokprune("bench", folder, "--data", questions, *one, "--no-blind", "--out", "run")
    assert result.exit_code == 0, result.output
    unpruned, pruned = rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert pruned["tokens_kept"] == pruned["tokens"] / 2
    assert unpruned["tokens"] == unpruned["tokens_kept"] == pruned["tokens"]
    assert [(row["length_before"], row["length_after"]) for row in rows] == _measured(folder, questions)


def test_whisper_is_measured_by_its_word_errors(tokprune, tmp_path):
    folder = saved.save(saved.whisper, tmp_path / "model")
    sounds = saved.transcripts(tmp_path / "sounds")
    assert "tokens per sound" in tokprune("inspect", folder).stdout
    asked = tokprune("answer", folder, "--audio", sounds.parent / "0.wav", "--scorer", "first", "--keep", 3)
    assert asked.exit_code == 0, asked.output
    assert "3 of 12" in asked.stdout
    options = ["--scorer", "first", "--keep", 3, "--out", "run", "--max-new-tokens", 5]
    result = tokprune("bench", folder, "--data", sounds, *options)
    assert result.exit_code == 0, result.output
    unpruned, pruned = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert (unpruned["tokens_kept"], pruned["tokens_kept"]) == (12, 3)
    assert [words for _, words in pruned["word_errors"]] == [3, 4]
    assert pruned["word_error_rate"] == sum(wrong for wrong, _ in pruned["word_errors"]) / 7
    assert "WER %" in result.stdout
    assert (unpruned["length_before"], unpruned["length_after"]) == (None, None)


@pytest.mark.parametrize("family", [saved.blip, saved.vision_encoder_decoder])
def test_a_question_that_is_not_asked_is_said(tokprune, tmp_path, questions, family):
    folder = saved.save(family, tmp_path / "model")
    options = ["--scorer", "first", "--keep", 3, "--max-new-tokens", 1]
    note = "writes captions, so the questions are not asked"
    assert note in tokprune("bench", folder, "--data", questions, *options, "--out", "run").stderr
    picture = ["--image", questions.parent / "0.png"]
    assert note not in tokprune("answer", folder, *picture, *options).stderr
    assert note in tokprune("answer", folder, *picture, *options, "--prompt", "what?").stderr


def test_speed_of_a_mllama_whose_pictures_have_other_tiles_than_two_by_two(tokprune, tmp_path):
    folder = saved.save(saved.mllama, tmp_path / "model")  # of one tile
    result = tokprune("speed", folder, "--repeats", 1, "--warm-up", 0, "--max-new-tokens", 1, "--out", "run")
    assert result.exit_code == 0, result.output
    assert "image 4 of 16" in " ".join(result.stdout.split())


def test_what_a_family_cannot_do_is_one_sentence(tokprune, tmp_path, questions):
    from tokprune.testing import tiny_encoders

    folder = saved.save(saved.whisper, tmp_path / "whisper")
    deaf = tokprune("bench", folder, "--data", questions, "--scorer", "first")
    clip = tmp_path / "clip"
    tiny_encoders.tiny_clip().save_pretrained(clip)
    mute = tokprune("answer", clip, "--data", questions)
    slow = tokprune("speed", folder, "--repeats", 1)
    folder = saved.save(saved.llava, tmp_path / "llava")
    sounds = saved.transcripts(tmp_path / "sounds")
    blind = tokprune("answer", folder, "--data", sounds)
    (tmp_path / "captions.jsonl").write_text('{"image": "0.png", "answers": "red"}')
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    quiet = tokprune("answer", folder, "--data", tmp_path / "captions.jsonl")
    shallow = tokprune("bench", folder, "--data", questions, "--by-depth")
    for result, words in (
        (deaf, "takes sound, and this one has none; give --data a JSON Lines file with 'audio'"),
        (deaf, "note: a WhisperForConditionalGeneration writes transcripts, so the questions are not asked"),
        (slow, "speed: the parts of a WhisperForConditionalGeneration are not known; measured are BLIP-2"),
        (mute, "a CLIPModel writes no text, so there are no answers to compare"),
        (blind, "takes pictures, and this one has none"),
        (shallow, "--by-depth is for image tokens that leave inside the image encoder"),
        (quiet, "there is no question, and a LlavaForConditionalGeneration is asked one"),
    ):
        assert result.exit_code == 2
        lines = [line for line in result.stderr.splitlines() if line.startswith(("error: ", "note: "))]
        assert sum(line.startswith("error: ") for line in lines) == 1
        assert words in "\n".join(lines)


def _measured(folder, questions):
    """Lengths of what entered the decoder of the unpruned model, and of the pruned one, seen at its first layer."""
    from tokprune import apply
    from tokprune.bench.answering import generate_answers, prepare
    from tokprune.bench.loading import load_checkpoint
    from tokprune.bench.questionfile import QuestionFile

    model, processor = load_checkpoint(folder)
    if any(hasattr(model, name) for name in ("text_decoder", "decoder")):
        return [(None, None), (None, None)]  # a decoder that looks at the image from outside its sequence
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None) or decoder.model.decoder.layers
    seen = []
    hook = layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).shape[1]), with_kwargs=True
    )
    inputs = prepare(model, processor, list(QuestionFile(questions)))
    generate_answers(model, processor, inputs, 1)
    with apply(model, scorer="l2-norm", keep=0.5) as handle:
        generate_answers(model, processor, inputs, 1)
    hook.remove()
    before, after = seen[0], seen[-1]
    report = handle.report
    if model.config.model_type != "mllama":  # whose image tokens are not in the sequence
        assert (report.length_before, report.length_after) == (before, after)
    return [(before, before), (before, after)]
