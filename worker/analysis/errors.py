"""Errors of analysing a run."""

from keyscope.contract.errors import KeyscopeError


class UnknownAnalysis(KeyscopeError):
    """There is no analysis of that kind."""

    code = "unknown_analysis"
    status = 404


class InvalidSetting(KeyscopeError, ValueError):
    """An analysis does not have a setting it was given, or cannot use its value."""

    code = "invalid_setting"
    status = 422


class OtherCorpus(KeyscopeError):
    """The corpus is not the one the run was computed on."""

    code = "other_corpus"
    status = 409


class AnalysisCancelled(KeyscopeError):
    """The analysis was cancelled; its finished steps are kept for the next attempt."""

    code = "cancelled"
    status = 409
