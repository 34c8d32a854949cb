"""The kit over all that a distribution registers: as a function, as tests of pytest, and as a command."""

import json
import os
import re
import subprocess
import sys

import pytest

from tokprune import PluginError
from tokprune.testing import check_distribution, conformance_test
from tokprune.testing.distribution import checks_of, other_distributions

from . import distributions


def names(distribution):
    return [str(check) for check in checks_of(distribution)]


def test_every_component_and_every_example_is_checked_by_every_law(install):
    install("right-dist", distributions.RIGHT)
    found = names("right-dist")
    assert "scorer longest can-be-made" in found
    assert "scorer longest votes-are-finite" in found
    assert "scorer longest:power=2.0 votes-are-finite" in found
    assert {name.split()[1] for name in found} == {"longest", "longest:power=2.0", "adding", "best", "folding"}
    assert len(found) == len(set(found))
    check_distribution("right-dist")


@pytest.mark.parametrize(
    ("code", "law", "detail"),
    [
        ("BATCH_WIDE", "The scores of an image do not depend on the other images", "among the others"),
        ("NEEDS_OPTIONS", "can be made without options", "'property' object is not callable"),
        ("NO_EXAMPLES", "can be made without options", "cannot be made without power"),
        ("SILENT", "says what it does", "write a docstring"),
        ("FORGETS_OPTION", "can be made without options", "Longest(power=1.0) twice"),
        ("DOUBLES", "is made from its name and options as text", "is read back as something else"),
        ("UNKNOWN_RULE", "A policy with the component survives JSON", "did you mean 'sum'"),
        ("WITHOUT_EXAMPLE", "brings a tiny model", "static method example()"),
    ],
)
def test_what_is_wrong_in_a_distribution_is_named(install, code, law, detail):
    install("wrong-dist", getattr(distributions, code))
    with pytest.raises(AssertionError) as caught:
        check_distribution("wrong-dist")
    assert law in str(caught.value)
    assert detail in str(caught.value)


def test_an_adapter_is_checked_on_the_model_it_brings(install):
    install("adapter-dist", distributions.WITH_EXAMPLE)
    assert "adapter mine prunes-for-real" in names("adapter-dist")
    check_distribution("adapter-dist")


def test_the_built_ins_are_a_distribution_like_any_other():
    found = names("tokprune")
    assert "adapter blip2 prunes-for-real" in found
    assert "scorer catp-vote follows-the-tokens" in found


def test_a_distribution_that_is_not_there_or_registers_nothing_is_an_error(install):
    install("empty-dist", distributions.NOTHING)
    with pytest.raises(PluginError, match=r"'nobody'.*those that have one: .*empty-dist"):
        conformance_test("nobody")
    with pytest.raises(PluginError, match="'empty-dist' registers no component"):
        conformance_test("empty-dist")
    assert "empty-dist" in other_distributions()


def test_a_broken_distribution_is_an_error_with_its_cause(install):
    install("broken-dist", "import nothing_of_this_name")
    with pytest.raises(PluginError, match="nothing_of_this_name"):
        checks_of("broken-dist")


def test_a_distribution_that_is_switched_off_is_said_to_be(install, monkeypatch):
    install("right-dist", distributions.RIGHT)
    monkeypatch.setenv("TOKPRUNE_PLUGINS", "")
    with pytest.raises(PluginError, match="left out by TOKPRUNE_PLUGINS=''"):
        checks_of("right-dist")


RUN = """
import json, sys
import pytest
for arguments in json.loads(sys.argv[1]):
    print("####", pytest.main(["-p", "no:cacheprovider", "-v", *arguments]), flush=True)
"""


def run(folder, *runs):
    """What pytest says, run by run and in a process of its own, as an author runs it, and the exit statuses.

    All in one process, because importing torch takes longer than they do.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TOKPRUNE_PLUGINS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", RUN, json.dumps(runs)]
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    said = re.split(r"^#### (\S+)\n", done.stdout, flags=re.MULTILINE)
    return list(zip(said[:-1:2], said[1::2], strict=True))


@pytest.mark.slow
def test_pytest_checks_by_one_line_in_a_test_file_and_without_one_every_plugin_or_one(install, tmp_path):
    renamed = re.sub(r'"(longest|adding|best|folding)"', r'"my-\1"', distributions.BATCH_WIDE)
    install("wrong-dist", renamed)
    install("right-dist", distributions.RIGHT)
    install("other-dist", distributions.WITHOUT_EXAMPLE)
    (tmp_path / "test_mine.py").write_text(
        "from tokprune.testing import conformance_test\n\ntest_conformance = conformance_test('wrong-dist')\n"
    )
    line, every, one = run(
        tmp_path,
        ["test_mine.py"],
        ["--pyargs", "tokprune.testing.suite", "-k", "can-be-made or gives-an-example"],
        ["-p", "tokprune.testing.plugin", "--tokprune", "right-dist", "-k", "made or gives"],
    )
    assert line[1] == "1", line[0]
    assert "test_conformance[selector my-best follows-the-tokens] PASSED" in line[0]
    assert "test_conformance[scorer my-longest images-do-not-matter-to-each-other] FAILED" in line[0]
    assert "on 2 image(s) of 1 target token(s)" in line[0].lower()
    assert "failures.py" not in line[0]  # the message, not how the kit found out
    assert "test_conformance[right-dist scorer longest can-be-made] PASSED" in every[0], every[0]
    assert "test_conformance[other-dist adapter mine gives-an-example] FAILED" in every[0]
    assert one[1] == "0", one[0]
    assert "other-dist" not in one[0]
    assert "[right-dist selector best can-be-made] PASSED" in one[0]
