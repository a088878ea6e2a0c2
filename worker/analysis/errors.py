"""What can go wrong before and while a run is analysed."""

from keyscope.contract.errors import KeyscopeError


class UnknownAnalysis(KeyscopeError):
    """There is no analysis of that kind."""

    code = "unknown_analysis"
    status = 404


class InvalidSetting(KeyscopeError, ValueError):
    """An analysis was asked for with a setting that it does not have or cannot use."""

    code = "invalid_setting"
    status = 422


class OtherCorpus(KeyscopeError):
    """The corpus is not the one the run was computed over."""

    code = "other_corpus"
    status = 409


class AnalysisCancelled(KeyscopeError):
    """Somebody stopped the analysis; what it has done is kept for the next attempt."""

    code = "cancelled"
    status = 409
