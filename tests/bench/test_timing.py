import pytest
import torch
from typer.testing import CliRunner

from tokprune import Policy, apply
from tokprune.bench.answering import prepare
from tokprune.bench.noise import noise_samples
from tokprune.bench.oracle import kept_rows, new_tokens, oracle_generate
from tokprune.bench.overhead import overhead_table, spread
from tokprune.bench.timing import measure_overhead
from tokprune.errors import InvalidValueError

OPTIONS = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}


@pytest.mark.parametrize("scorer", ["l2-norm", "stride"])
def test_the_oracle_says_what_the_pruned_model_says(model, processor, scorer):
    inputs = prepare(model, processor, noise_samples(3))
    with apply(model, scorer=scorer, keep=3, positions="compact") as handle:
        pruned = new_tokens(model, inputs, model.generate(**inputs, **OPTIONS))
    rows = kept_rows(inputs["input_ids"], handle.report.kept, model.config.image_token_id)
    assert torch.equal(oracle_generate(model, inputs, rows, **OPTIONS), pruned)
    other = kept_rows(inputs["input_ids"], handle.report.kept.flip(1), model.config.image_token_id)
    assert not torch.equal(oracle_generate(model, inputs, other, **OPTIONS), pruned)


def test_with_all_tokens_the_oracle_is_generate(model, processor):
    inputs = prepare(model, processor, noise_samples(2))
    rows = torch.arange(inputs["input_ids"].shape[1]).expand(2, -1)
    assert torch.equal(
        oracle_generate(model, inputs, rows, **OPTIONS), new_tokens(model, inputs, model.generate(**inputs, **OPTIONS))
    )


def test_preserved_positions_reach_a_decoder_only_oracle(opt, t5, processor):
    inputs = prepare(opt, processor, noise_samples(2))
    with apply(opt, scorer="l2-norm", keep=3, positions="preserve") as handle:
        pruned = new_tokens(opt, inputs, opt.generate(**inputs, **OPTIONS))
    rows = kept_rows(inputs["input_ids"], handle.report.kept, opt.config.image_token_id)
    assert torch.equal(oracle_generate(opt, inputs, rows, positions="preserve", **OPTIONS), pruned)
    assert not torch.equal(oracle_generate(opt, inputs, rows, positions="compact", **OPTIONS), pruned)
    with pytest.raises(InvalidValueError, match="encoder-decoder"):
        oracle_generate(t5, inputs, rows, positions="preserve", **OPTIONS)


def test_kept_rows_refuses_what_it_cannot_hand_over():
    ids = torch.tensor([[4, 4, 7], [4, 4, 8]])
    assert kept_rows(ids, torch.tensor([[True, False], [False, True]]), 4).tolist() == [[0, 2], [1, 2]]
    with pytest.raises(InvalidValueError, match="same number"):
        kept_rows(ids, torch.tensor([[True, False], [True, True]]), 4)
    with pytest.raises(InvalidValueError, match="4 placeholders but 2"):
        kept_rows(ids, torch.tensor([[True, False]]), 4)


def test_overhead_times_all_three(opt, processor):
    done = []
    times = measure_overhead(
        opt,
        prepare(opt, processor, noise_samples(1)),
        Policy(keep=2),
        repeats=3,
        warm_up=1,
        repeat_done=lambda: done.append(1),
    )
    assert len(done) == len(times.unpruned) == len(times.oracle) == len(times.pruned) == 3
    assert min(times.unpruned + times.oracle + times.pruned) > 0
    assert (times.tokens, times.tokens_kept) == (8, 2)
    assert times.overhead[1] == times.pruned[1] / times.oracle[1]
    assert overhead_table({"catp-vote": times}).row_count == 1


def test_a_yardstick_that_answers_differently_is_refused(opt, processor):
    inputs = prepare(opt, processor, noise_samples(1))
    with pytest.raises(InvalidValueError, match="answers differently"):
        measure_overhead(opt, inputs, Policy(scorer="l2-norm", keep=1, reduction="merge"), repeats=1, max_new_tokens=8)


def test_spread():
    assert spread([3.0]) == "3"
    assert spread([1.0, 2.0, 3.0, 4.0, 100.0]) == "3 (1.5 to 52)"


def test_the_module_prints_a_table_and_its_certificate(opt, processor, tmp_path):
    import typer

    from tokprune.bench import overhead

    opt.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    app = typer.Typer()
    app.command()(overhead.main)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(tmp_path), "--repeats", "2", "--scorer", "first"])
    assert result.exit_code == 0, result.output
    assert "pruned / oracle" in result.output
    assert "2 of 8" in result.output
    assert "attention: sdpa" in result.output
