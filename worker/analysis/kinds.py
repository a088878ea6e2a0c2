"""From the name of a kind to its analysis.

The one list of kinds is `KINDS` in `keyscope.contract.analyses.kinds`. Each has a room of its name here, whose `make`
builds the analysis from its settings; a room is imported only when its kind is asked for.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.validation import message
from keyscope.worker.analysis.analysis import Analysis, Settings
from keyscope.worker.analysis.errors import InvalidSetting, UnknownAnalysis

ALL = "all"
WITHOUT_SETTINGS = ("concepts", "firing", "syntax", "agreement")
"""Kinds that need no settings, in the order in which people look at them; those that share a forward pass first."""


def make_analysis(kind: str, settings: Mapping[str, Any]) -> Analysis:
    """Build the analysis of a kind; settings left out take their defaults.

    Raises:
        UnknownAnalysis: there is no such kind.
        InvalidSetting: the kind has no such setting, or cannot use its value.
    """
    if kind not in KINDS:
        raise UnknownAnalysis(f"there is no analysis {kind!r}: choose one of {', '.join(KINDS)}")
    make: Callable[[Mapping[str, Any]], Analysis] = import_module(f"keyscope.worker.analysis.{kind}").make
    with checked(kind):
        return make(settings)


@contextmanager
def checked(kind: str) -> Iterator[None]:
    """Turn what is wrong with the settings of a kind into a sentence.

    Raises:
        InvalidSetting: the kind has no such setting, or cannot use its value.
    """
    try:
        yield
    except ValidationError as error:
        raise InvalidSetting(_sentence(kind, error)) from error


def make_analyses(kinds: str, settings: Mapping[str, Any]) -> list[Analysis]:
    """Build the analyses of several kinds, with commas between their names; `all` are those that need no settings.

    Raises:
        UnknownAnalysis: one of the kinds does not exist.
        InvalidSetting: the kind has no such setting, or cannot use its value; or there are settings for several kinds.
    """
    names = list(dict.fromkeys(WITHOUT_SETTINGS if kinds == ALL else (name.strip() for name in kinds.split(","))))
    if settings and len(names) > 1:
        raise InvalidSetting(
            f"{', '.join(names)} have different settings: leave out {', '.join(settings)}, or ask for one kind at a time"
        )
    return [make_analysis(name, settings) for name in names]


def _sentence(kind: str, error: ValidationError) -> str:
    wrong = error.errors()[0]
    name, reason = ".".join(map(str, wrong["loc"])), message(wrong)
    if wrong["type"] == "extra_forbidden":
        known = next(each for each in Settings.__subclasses__() if each.__name__ == error.title).model_fields
        return f"the analysis {kind} has no setting {name!r}: choose from {', '.join(known)}"
    return (
        f"{kind} cannot use {name}={wrong['input']!r}: {reason}"
        if name
        else f"{kind} cannot use these settings: {reason}"
    )
