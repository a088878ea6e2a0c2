"""When keys fire: one pass over the corpus counts positions, tokens, languages and files; the weights give the rest."""

from collections.abc import Mapping
from typing import Any

from keyscope.worker.analysis.firing.analysis import Firing
from keyscope.worker.analysis.firing.settings import FiringSettings

__all__ = ["make"]


def make(settings: Mapping[str, Any]) -> Firing:
    """Build the analysis with these settings."""
    return Firing(FiringSettings(**settings))
