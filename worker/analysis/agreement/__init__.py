"""Layer agreement: what each layer alone would say, against what the model says, by layer, kind of token and context."""

from collections.abc import Mapping
from typing import Any

from keyscope.worker.analysis.agreement.analysis import Agreement
from keyscope.worker.analysis.agreement.plan import AgreementSettings

__all__ = ["make"]


def make(settings: Mapping[str, Any]) -> Agreement:
    """The analysis with these settings."""
    return Agreement(AgreementSettings(**settings))
