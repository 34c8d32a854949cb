"""Installed plugins: real distributions, written into a folder on the path."""

import sys
import warnings

import pytest

import tokprune
from tokprune import PluginError, PluginWarning, UnknownNameError
from tokprune.plugins import builtin_plugin, installed_plugins, plugin_distributions, plugins_of
from tokprune.registry import Registry, default_registry

GOOD = """
import tokprune
from tokprune.scorers import L2Norm

class Mine(L2Norm):
    "A scorer of one's own."

@tokprune.hookimpl
def register_scorers():
    return {"mine": Mine}
"""


def load():
    """Every plugin in the temporary folder and elsewhere, with warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {plugin.name: plugin for plugin in installed_plugins()}


def test_an_installed_scorer_can_be_used_by_name(install):
    assert "mine" not in tokprune.list_scorers()
    install("my-scorers", GOOD)
    assert "mine" in tokprune.list_scorers()
    assert repr(tokprune.Policy("mine").scorer) == "Mine()"


def test_an_installed_component_knows_its_distribution_and_version(install):
    install("my-scorers", GOOD)
    entry = default_registry().entry("scorer", "mine")
    assert (entry.distribution, entry.version) == ("my-scorers", "1.2")
    assert entry.summary == "A scorer of one's own."


def test_nothing_is_loaded_before_it_is_asked_for(install):
    install("my-scorers", GOOD)
    assert "my_scorers" not in sys.modules
    tokprune.list_scorers()
    assert "my_scorers" in sys.modules


def test_plugins_are_loaded_once(install):
    install("my-scorers", GOOD)
    tokprune.list_scorers()
    assert default_registry() is default_registry()


def test_a_plugin_that_cannot_be_imported_is_skipped_with_one_warning_that_names_it(install):
    install("broken-dist", "import nothing_of_this_name")
    install("my-scorers", GOOD)
    with pytest.warns(PluginWarning, match="'broken-dist' could not be loaded .*nothing_of_this_name") as caught:
        assert "mine" in tokprune.list_scorers()
    assert len(caught) == 1


@pytest.mark.parametrize("code", ["1 / 0", "def (", "raise RuntimeError('no GPU')", "import sys; sys.exit(3)"])
def test_whatever_a_plugin_raises_on_import_the_others_work(install, code):
    install("broken-dist", code)
    install("my-scorers", GOOD)
    with pytest.warns(PluginWarning):
        assert "mine" in tokprune.list_scorers()


def test_strict_mode_raises_and_names_the_plugin(install, monkeypatch):
    install("broken-dist", "1 / 0")
    monkeypatch.setenv("TOKPRUNE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"'broken-dist' could not be loaded \(ZeroDivisionError"):
        tokprune.list_scorers()


@pytest.mark.parametrize("value", ["", "0"])
def test_strict_mode_can_be_switched_off(install, monkeypatch, value):
    install("broken-dist", "1 / 0")
    monkeypatch.setenv("TOKPRUNE_STRICT_PLUGINS", value)
    with pytest.warns(PluginWarning):
        tokprune.list_scorers()


def test_an_empty_list_of_plugins_loads_none(install, monkeypatch):
    install("my-scorers", GOOD)
    monkeypatch.setenv("TOKPRUNE_PLUGINS", "")
    assert load() == {}
    assert "mine" not in tokprune.list_scorers()
    assert "my_scorers" not in sys.modules


def test_a_list_of_plugins_loads_those(install, monkeypatch):
    install("my-scorers", GOOD)
    install("broken-dist", "1 / 0")
    monkeypatch.setenv("TOKPRUNE_PLUGINS", " my-scorers ,")
    assert list(load()) == ["my-scorers"]


def test_a_list_with_a_plugin_that_is_not_there_says_which_are(install, monkeypatch):
    install("my-scorers", GOOD)
    monkeypatch.setenv("TOKPRUNE_PLUGINS", "my-scores")
    with pytest.raises(PluginError, match=r"names \['my-scores'\], but the installed plugins are .*'my-scorers'"):
        load()


def test_one_name_from_two_installed_distributions_names_both(install):
    install("my-scorers", GOOD)
    install("other-scorers", GOOD)
    with pytest.raises(PluginError, match="'my-scorers' and 'other-scorers'"):
        default_registry()


def test_a_conflict_can_be_solved_by_choosing(install, monkeypatch):
    install("my-scorers", GOOD)
    install("other-scorers", GOOD)
    monkeypatch.setenv("TOKPRUNE_PLUGINS", "other-scorers")
    assert default_registry().entry("scorer", "mine").distribution == "other-scorers"


def test_an_unknown_name_says_which_distribution_the_nearest_one_is_from(install):
    install("my-scorers", GOOD)
    with pytest.raises(UnknownNameError, match=r"did you mean 'mine' \(from my-scorers\)\?"):
        tokprune.Policy("mina")


def test_a_registry_of_ones_own_needs_no_installation(install):
    install("my-scorers", GOOD)
    assert "mine" not in Registry([]).names("scorer")
    assert "mine" in Registry(load().values()).names("scorer")


NO_HOOK = """
def register_scorers():
    return {}
"""
RAISES = """
import tokprune

@tokprune.hookimpl
def register_aggregators():
    return {"half-done": dict}

@tokprune.hookimpl
def register_scorers():
    raise KeyError("oops")
"""
NEW_HOOK = """
import tokprune

@tokprune.hookimpl
def register_backends():
    return {}
"""
BAD_NAME = """
import tokprune

@tokprune.hookimpl
def register_scorers():
    return {"fine": dict, "Not Fine": dict}
"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (NO_HOOK, "registers nothing; write @tokprune.hookimpl"),
        (RAISES, "register_scorers raised KeyError: 'oops'"),
        (RAISES.replace("KeyError", "SystemExit"), "register_scorers raised SystemExit: oops"),
        (NEW_HOOK, "register_backends"),
        (BAD_NAME, "'Not Fine' is not a name"),
    ],
)
def test_a_plugin_that_registers_badly_is_skipped_as_a_whole_and_the_others_work(install, code, reason):
    install("broken-dist", code)
    install("my-scorers", GOOD)
    with pytest.warns(PluginWarning, match=f"(?s)'broken-dist'.*{reason}.*none of its components") as caught:
        assert "mine" in tokprune.list_scorers()
    assert len(caught) == 1
    assert "fine" not in tokprune.list_scorers()
    assert "half-done" not in tokprune.list_aggregators()


def test_strict_mode_raises_for_a_plugin_that_registers_badly(install, monkeypatch):
    install("broken-dist", RAISES)
    monkeypatch.setenv("TOKPRUNE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="'broken-dist'"):
        tokprune.list_scorers()


def test_a_conflict_is_an_error_of_its_own_and_changes_nothing(install):
    install("my-scorers", GOOD)
    install("other-scorers", GOOD + "\n@tokprune.hookimpl\ndef register_selectors():\n    return {'chosen': Mine}\n")
    registry = Registry([builtin_plugin()])
    mine, other = load().values()
    registry.add(mine)
    with pytest.raises(tokprune.PluginConflictError):
        registry.add(other)
    assert registry.entry("scorer", "mine").distribution == "my-scorers"
    assert "chosen" not in registry.names("selector")


def test_the_plugins_of_one_distribution_are_loaded_whatever_the_environment_says(install, monkeypatch):
    install("my-scorers", GOOD)
    install("broken-dist", "1 / 0")
    monkeypatch.setenv("TOKPRUNE_PLUGINS", "")
    assert [plugin.distribution for plugin in plugins_of("My_Scorers")] == ["my-scorers"]
    with pytest.raises(PluginError, match=r"'broken-dist' could not be loaded \(ZeroDivisionError"):
        list(plugins_of("broken-dist"))
    with pytest.raises(PluginError, match=r"'nobody'.*those that have one: .*my-scorers"):
        list(plugins_of("nobody"))
    assert {"my-scorers", "broken-dist"} <= set(plugin_distributions())
