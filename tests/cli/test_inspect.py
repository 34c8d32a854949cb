def test_inspect_says_what_can_be_pruned_and_what_it_gains(tokprune, checkpoint):
    result = tokprune("inspect", checkpoint)
    assert result.exit_code == 0, result.output
    for piece in (
        "Blip2ForConditionalGeneration",
        "adapter 'blip2'",
        "query (default)",
        "2 layers x 4 heads, 65 voters for 8 tokens",
        "8 vectors of 32",
        "fits",
        "1.00x",
        "at the very most",
        "It cannot pay at batch 1",
    ):
        assert piece in " ".join(result.stdout.split()), piece


def test_inspect_says_which_signal_a_scorer_misses(tokprune, checkpoint, monkeypatch):
    from tokprune.adapters import Blip2

    monkeypatch.setattr(Blip2, "offers", lambda self, model: {"query": ("tokens",)})
    result = tokprune("inspect", checkpoint)
    assert result.exit_code == 0, result.output
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith("│")}
    assert "does not fit: no cross_attention" in lines["catp-vote"]
    assert "fits" in lines["l2-norm"]
    assert "does not fit" not in lines["l2-norm"]
