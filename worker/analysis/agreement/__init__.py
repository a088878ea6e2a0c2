"""Layer agreement: what each layer alone would predict against what the model predicts, by layer, token and context."""

from collections.abc import Mapping
from typing import Any

from keyscope.worker.analysis.agreement.analysis import Agreement
from keyscope.worker.analysis.agreement.plan import AgreementSettings

__all__ = ["make"]


def make(settings: Mapping[str, Any]) -> Agreement:
    """Build the analysis with these settings."""
    return Agreement(AgreementSettings(**settings))
