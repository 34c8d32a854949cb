import pytest
from testing import distributions


def test_components_are_checked_by_name(tokprune):
    result = tokprune("check", "catp-vote", "top-*")
    assert result.exit_code == 0, result.output
    for piece in ("catp-vote", "top-k", "top-p", "tokprune 0.1.0"):
        assert piece in result.stdout, piece
    assert "l2-norm" not in result.stdout


def test_every_plugin_is_checked_by_default(tokprune, install):
    install("right-dist", distributions.RIGHT)
    result = tokprune("check")
    assert result.exit_code == 0, result.output
    for piece in ("longest:power=2.0", "adding", "best", "folding", "right-dist 1.2"):
        assert piece in result.stdout, piece
    assert "catp-vote" not in result.stdout


def test_a_broken_law_is_named_with_its_example_and_the_exit_code_says_so(tokprune, install):
    install("wrong-dist", distributions.BATCH_WIDE)
    result = tokprune("check", "wrong-dist")
    assert result.exit_code == 1
    assert "scorer Longest(power=1.0) breaks a law: The scores of an image do not depend" in result.stdout
    assert "On 2 image(s) of 1 target token(s)" in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("name", "message"), [((), "no plugin is installed"), (("pea",), "is called 'pea'")])
def test_nothing_to_check_is_an_error(tokprune, name, message):
    result = tokprune("check", *name)
    assert result.exit_code == 2
    assert message in result.stderr
