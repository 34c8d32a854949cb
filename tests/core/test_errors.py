"""One base for all errors, and the ordinary error that each also is."""

import inspect

import pytest

from tokprune import errors

ERRORS = {
    "InvalidValueError": ValueError,
    "UnknownNameError": LookupError,
    "SignalError": AttributeError,
    "AdapterError": TypeError,
    "AlreadyAppliedError": RuntimeError,
    "UnsupportedCallError": RuntimeError,
    "BackendError": RuntimeError,
    "PluginError": RuntimeError,
    "PluginConflictError": RuntimeError,
}


@pytest.mark.parametrize(("name", "ordinary"), ERRORS.items())
def test_an_error_is_ours_and_an_ordinary_one(name, ordinary):
    assert issubclass(getattr(errors, name), errors.TokpruneError)
    assert issubclass(getattr(errors, name), ordinary)


def test_every_error_is_on_the_list_and_documented():
    ours = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    assert set(ours) == {*ERRORS, "TokpruneError", "PluginWarning", "UnprunedWarning"}
    assert all(inspect.getdoc(value) for value in ours.values())


def test_one_except_catches_all_of_them():
    for name in ERRORS:
        with pytest.raises(errors.TokpruneError):
            raise getattr(errors, name)("something")


def test_a_message_is_shown_as_it_was_written():
    assert str(errors.UnknownNameError("no scorer is called 'x'")) == "no scorer is called 'x'"
