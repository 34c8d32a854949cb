import re

import pytest

from tokprune.adapters import InstructBlip
from tokprune.testing import tiny_inside, tiny_mllama


def text(result):
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def cells(result, first, number):
    """The table's lines whose first cell is `first`, cell by cell, from tables with that number of columns."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    return [line for line in lines if len(line) == number and line[0] == first]


def test_inspect_says_what_can_be_pruned_and_what_it_gains(tokprune, checkpoint):
    shown = text(tokprune("inspect", checkpoint))
    for piece in (
        "Blip2ForConditionalGeneration",
        "adapter 'blip2'",
        "query (default)",
        "2 layers x 4 heads, 65 voters for 8 tokens",
        "8 vectors of 32",
        "fits",
        "8 query tokens, 16 text tokens, 10 answer tokens, greedy",
        "Where the arithmetic is",
        "What pruning can gain at most",
        "it does not pay to prune query tokens",
        "not a measurement",
    ):
        assert piece in shown, piece


def test_inspect_says_which_signal_a_scorer_misses(tokprune, checkpoint, monkeypatch):
    from tokprune.adapters import Blip2

    monkeypatch.setattr(Blip2, "offers", lambda self, model: {"query": ("tokens",)})
    result = tokprune("inspect", checkpoint)
    assert "does not fit: needs 'cross_attention'" in cells(result, "catp-vote", 2)[0][1]
    assert cells(result, "l2-norm", 2) == [["l2-norm", "fits"]]


def test_stages_and_gains_are_those_of_the_arithmetic(tokprune, checkpoint):
    from tokprune.bench.arithmetic import Arithmetic
    from tokprune.bench.costs import Workload
    from tokprune.bench.loading import load_checkpoint
    from tokprune.bench.roofline import Machine

    result = tokprune(
        *("inspect", checkpoint, "--text-tokens", 3, "--answer-tokens", 4, "--beams", 2, "--batch", 500),
        *("--after", "2", "--flop-rate", "0.001", "--bandwidth", "0.01"),
    )
    assert "3 text tokens, 4 answer tokens, 2 beams" in text(result)
    assert "By time, at batch 500" in text(result)
    arithmetic = Arithmetic(load_checkpoint(checkpoint)[0])
    machine, work = Machine(1e9, 1e10), Workload(3, 4, 2)
    whole = arithmetic.count(work)
    pruned = arithmetic.count(work, query_keep=0.25, image_keep=0.25, after=2)
    share = whole.flops["prefill"] / whole.total
    assert cells(result, "prefill", 5)[0][2] == f"{share:.0%}"

    def gain(batch):
        before, then = (sum(machine.seconds(costs, batch).values()) for costs in (whole, pruned))
        return f"{before / then:.2f}x"

    (line,) = (line for line in cells(result, "query and image", 6) if line[1] == "0.25")
    assert line[2:] == ["2 of 8, 16 of 64", f"{whole.total / pruned.total:.2f}x", gain(1), gain(500)]


def test_only_targets_that_are_offered_are_counted(tokprune, checkpoint, monkeypatch):
    from tokprune.adapters import Blip2

    monkeypatch.setattr(Blip2, "offers", lambda self, model: {"query": ("tokens",)})
    result = tokprune("inspect", checkpoint)
    assert len(cells(result, "query", 6)) == 3
    assert not cells(result, "image", 6)
    assert "Image tokens leave" not in text(result)


def test_a_real_size_needs_no_weights(tokprune):
    result = tokprune("inspect", "blip2-opt-2.7b", "--text-tokens", 4, "--after", "6,13,20")
    shown = text(result)
    assert "3.74G parameters (shapes only, no weights)" in shown
    assert "Image tokens leave in 3 equal steps, after layers 6 to 20 of the image encoder's 39" in shown
    assert [line[2] for line in cells(result, "image encoder", 5)] == ["68%"]
    assert "84% of the time goes to the decode" in shown
    assert cells(result, "l2-norm", 3) == [["l2-norm", "fits", "fits"]]


def test_a_model_without_adapter_still_has_its_arithmetic(tokprune, monkeypatch):
    monkeypatch.setattr(InstructBlip, "matches", lambda adapter, model: False)
    shown = text(tokprune("inspect", "instructblip-vicuna-7b:scale=0.1"))
    assert "InstructBlipForConditionalGeneration" in shown
    assert "no adapter" in shown
    assert "What pruning can gain at most" in shown
    assert re.search(r"It cannot be pruned yet: no adapter knows transformers\S+InstructBlip", shown)


def test_arithmetic_that_is_not_known_is_not_guessed(tokprune, checkpoint, monkeypatch):
    from tokprune.bench import arithmetic

    monkeypatch.setattr(arithmetic, "_LANGUAGE_MODELS", ("t5",))
    shown = text(tokprune("inspect", checkpoint))
    assert "What pruning can gain is not known" in shown
    assert "expected a language model of type t5, got 'opt'" in shown
    assert "FLOPs" not in shown


def test_a_model_of_which_nothing_is_known_shows_its_attention(tokprune, checkpoint, monkeypatch):
    from tokprune.adapters import Blip2
    from tokprune.bench import arithmetic

    monkeypatch.setattr(arithmetic, "_LANGUAGE_MODELS", ())
    monkeypatch.setattr(Blip2, "matches", lambda self, model: False)
    shown = text(tokprune("inspect", checkpoint))
    assert "no adapter" in shown
    assert "qformer.encoder.layer.*.crossattention.attention" in shown
    assert "What pruning can gain is not known" in shown


def test_a_cut_behind_the_last_layer_is_an_error_of_the_user(tokprune, checkpoint):
    result = tokprune("inspect", checkpoint, "--after", "40")
    assert result.exit_code == 2
    assert "there are 2 layers" in " ".join(result.output.split())


def saved(model, folder):
    model.save_pretrained(folder)
    return folder


def test_any_family_is_told_from_its_configuration_alone(tokprune, tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from tokprune.testing import tiny_blip2_retrieval, tiny_instructblip, tiny_instructblipvideo

    width = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    models = {
        "instructblip": tiny_instructblip.tiny_instructblip(shallow=True),
        "instructblip-video": tiny_instructblipvideo.tiny_instructblipvideo(),
        "blip2-retrieval": tiny_blip2_retrieval.tiny_blip2_retrieval(),
        "clip": CLIPVisionModel(CLIPVisionConfig(**width, image_size=16, patch_size=8)),
    }
    for adapter, model in models.items():
        shown = text(tokprune("inspect", saved(model, tmp_path / adapter)))
        assert f"{type(model).__name__}, " in shown, adapter
        assert "(shapes only, no weights)" in shown
        assert f"adapter '{adapter}'" in shown
        assert "l2-norm" in shown


def test_of_a_model_without_adapter_the_attention_is_listed(tokprune, tmp_path):
    from transformers import ViTMAEConfig, ViTMAEModel

    width = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    model = ViTMAEModel(ViTMAEConfig(**width, image_size=16, patch_size=8))
    result = tokprune("inspect", saved(model, tmp_path / "mae"))
    shown = text(result)
    assert "ViTMAEModel" in shown
    assert "no adapter" in shown
    (line,) = (line for line in result.stdout.splitlines() if "q_proj" in line and "│" in line)
    assert [cell.strip() for cell in line.split("│")[2:4]] == ["3", "2"]
    assert "GenericAdapter(" in shown
    assert "add-your-model" in shown


def test_a_model_whose_class_is_not_there_is_an_error(tokprune, tmp_path):
    from transformers import ViTConfig

    ViTConfig(architectures=["FromTheFuture"]).save_pretrained(tmp_path / "future")
    result = tokprune("inspect", tmp_path / "future")
    assert result.exit_code == 2
    assert "FromTheFuture" in result.output


def test_image_tokens_of_a_mllama_leave_behind_its_encoder(tokprune, tmp_path):
    shown = text(tokprune("inspect", saved(tiny_mllama.tiny_mllama(), tmp_path)))
    assert "Image tokens leave behind the image encoder." in shown


def test_image_tokens_may_leave_inside_the_language_model(tokprune, tmp_path):
    folder = saved(tiny_inside.tiny_inside(), tmp_path)
    assert "Image tokens leave in front of the language model." in text(tokprune("inspect", folder))
    result = tokprune("inspect", folder, "--after", "2")
    assert "Image tokens leave after layer 2 of the language model's 4." in text(result)
    gains = [[cell.rstrip("x") for cell in line[3:4]] for line in cells(result, "image", 6)]
    in_front = [line[3].rstrip("x") for line in cells(tokprune("inspect", folder), "image", 6)]
    assert all(1 < float(inside[0]) < float(front) for inside, front in zip(gains, in_front, strict=True))


@pytest.mark.slow
def test_the_arithmetic_of_other_families(tokprune):
    assert "1280 image tokens, 16 text" in text(tokprune("inspect", "qwen2.5-vl-7b:scale=0.1"))
    assert "1600 image tokens in each of 4 tiles" in text(tokprune("inspect", "llama-3.2-11b-vision:scale=0.1"))
    refused = tokprune("inspect", "qwen2.5-vl-7b:scale=0.1", "--after", "2")
    assert refused.exit_code == 2
    assert "leave in front of the language model only" in " ".join(refused.stderr.split())
