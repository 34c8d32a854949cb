"""Every error that tokprune raises on purpose: one base, specific children.

A message says where it happened, what was expected, what came, and what to do about it.
"""

from __future__ import annotations


class TokpruneError(Exception):
    """Base of all errors raised by tokprune."""


class InvalidValueError(TokpruneError, ValueError):
    """A value has the right type but cannot be used: a keep of 0, votes of a wrong shape, an unknown option."""


class UnknownNameError(InvalidValueError, LookupError):
    """A component, model or data set name is not registered; the message offers the nearest known one."""


class SignalError(TokpruneError, AttributeError):
    """A scorer asked for a signal that was not observed; the message names what is offered."""


class AdapterError(TokpruneError, TypeError):
    """No adapter fits the model, or the adapter cannot do what was asked of it on this model."""


class AlreadyAppliedError(TokpruneError, RuntimeError):
    """`tokprune.apply` was called on a model that already carries a policy for the same target."""


class UnsupportedCallError(TokpruneError, RuntimeError):
    """A call of the pruned model that is known to give wrong results; refused before anything runs."""


class BackendError(TokpruneError, RuntimeError):
    """A backend was asked for by name and cannot run here: not installed, no such device, shapes too large for it."""


class PluginError(TokpruneError, RuntimeError):
    """An installed plugin is broken or conflicts with another one."""


class PluginConflictError(PluginError):
    """Two distributions register the same name, and somebody has to choose."""


class UnprunedWarning(UserWarning):
    """A call of a pruned model brought images, video or sound of which nothing was pruned; the message says why."""


class PluginWarning(UserWarning):
    """An installed plugin could not be loaded and was skipped."""


def brief(value: object) -> str:
    """The `repr` of a value for a message, or its type where there is none.

    Example:
        >>> brief("catp-vote")
        "'catp-vote'"
    """
    try:
        return repr(value)
    except Exception as error:  # nested too deeply, or broken
        return f"a {type(value).__name__} that cannot be printed ({type(error).__name__})"
