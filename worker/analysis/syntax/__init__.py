"""Syntax: the kinds of code keys fire on, and how varied their triggers are, by layer."""

from collections.abc import Mapping
from typing import Any

from keyscope.worker.analysis.syntax.analysis import Syntax, SyntaxSettings

__all__ = ["make"]


def make(settings: Mapping[str, Any]) -> Syntax:
    """Build the analysis with these settings."""
    return Syntax(SyntaxSettings(**settings))
