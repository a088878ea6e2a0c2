"""Errors of analysing a run."""

from keyscope.contract.errors import KeyscopeError


class UnknownAnalysis(KeyscopeError, status=404):
    """There is no analysis of that kind."""


class InvalidSetting(KeyscopeError, ValueError, status=422):
    """An analysis does not have a setting it was given, or cannot use its value."""


class AnalysisCancelled(KeyscopeError, code="cancelled", status=409):
    """The analysis was cancelled; its finished steps are kept for the next attempt."""
