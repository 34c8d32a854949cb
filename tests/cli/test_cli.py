import pytest


def test_list_shows_name_summary_options_and_origin(tokprune):
    result = tokprune("list")
    assert result.exit_code == 0, result.output
    for piece in ("catp-vote", "layers='all'", "top-k", "borda", "prune", "blip2", "tokprune 0.1.0"):
        assert piece in result.stdout, piece


def test_list_by_pattern_and_kind(tokprune):
    result = tokprune("list", "catp*", "--kind", "scorer")
    assert "catp-weighted" in result.stdout
    assert "l2-norm" not in result.stdout
    assert "borda" not in result.stdout


@pytest.mark.parametrize("arguments", [("list", "nothing-like-it"), ("list", "--kind", "scorers")])
def test_list_of_nothing_is_an_error(tokprune, arguments):
    result = tokprune(*arguments)
    assert result.exit_code == 2
    assert "error:" in result.stderr


def test_errors_are_one_message_without_a_traceback(tokprune):
    result = tokprune("answer", "--scorer", "catp-vot")
    assert result.exit_code == 2
    assert "did you mean 'catp-vote'" in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_the_version_is_shown(tokprune):
    import tokprune as library

    result = tokprune("--version")
    assert (result.exit_code, result.stdout) == (0, f"tokprune {library.__version__}\n")


def test_a_method_in_place_of_a_scorer_is_answered_with_what_to_write(tokprune):
    result = tokprune("bench", "--scorer", "fastv")
    assert result.exit_code == 2
    assert "which is a method: write scorer='text-attention' with after=2" in result.stderr


def test_debug_lets_the_error_through(tokprune):
    from tokprune.errors import UnknownNameError

    result = tokprune("--debug", "answer", "--scorer", "catp-vot")
    assert isinstance(result.exception, UnknownNameError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "blip2-shaps"], "did you mean 'blip2-shapes'"),
        (["inspect", "."], "cannot be loaded as a folder"),
        (["inspect", "nobody/nothing"], "no such folder here, and the hub cannot be reached"),
        (["bench", "--data", "shapes-vq"], "did you mean 'shapes-vqa'"),
        (["bench", "--data", "none.jsonl"], "cannot read none.jsonl"),
        (["bench", "--keep", "half"], "expected a ratio"),
        (["bench", "--scorer", "first", "--keep", "1.5"], "keep"),
        (["bench", "--scorer", "first", "--positions", "compat"], "'compact' or 'preserve'"),
        (["bench", "--scorer", "catp-vote:layer=1"], "no option 'layer'"),
        (["bench", "--by-layer", "--scorer", "first"], "omit --scorer"),
        (["bench", "--by-layer", "--by-depth"], "omit --by-depth"),
        (["bench", "--by-depth", "--after", "1"], "omit --after"),
        (["bench", "--policy", "first", "--keep", "1/2"], "omit --keep"),
        (["bench", "--policy", "first kept=1/2"], "a policy has no 'kept'"),
        (["bench", "--target", "image", "--after", "half"], "expected a share of the depth (1/3)"),
        (["bench", "--reduction", "merg"], "did you mean 'merge'"),
        (["bench", "--target", "imag"], "cannot cut target 'imag'"),
        (["bench", "--target", "image", "--scorer", "catp-vote"], "Fitting scorers: distinct, first"),
        (["bench", "--after", "40", "--scorer", "first"], "there are"),
        (["bench", "--target", "image", "--after", "40", "--scorer", "first"], "there are 4 layers"),
        (["answer", "--policy", "first", "--target", "image"], "omit --target"),
        (["answer", "--target", "image", "--after", "0"], "--after '0': expected"),
        (["answer", "--target", "image", "--after", "40"], "there are 4 layers"),
        (["answer", "--target", "image", "--reduction", "mask"], "use 'prune' or 'merge'"),
        (["answer", "--prompt", "what?"], "give --image and --prompt together"),
        (["answer", "--image", "none.png", "--prompt", "what?"], "--image: no image at none.png"),
        (["bench", "--dtype", "float8"], "expected one of float32"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(tokprune, arguments, message):
    result = tokprune(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
