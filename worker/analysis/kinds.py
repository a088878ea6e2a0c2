"""The analyses there are, by the kind that people ask for."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.validation import message
from keyscope.worker.analysis.analysis import Analysis, Settings
from keyscope.worker.analysis.errors import InvalidSetting, UnknownAnalysis


def make_analysis(kind: str, settings: Mapping[str, Any]) -> Analysis:
    """The analysis of a kind; settings that are left out have their defaults.

    Each kind is a module of this room with a function `make(settings) -> Analysis`.

    Raises:
        UnknownAnalysis: there is no such kind.
        InvalidSetting: a setting is not one of the kind, or not of its type.
    """
    if kind not in KINDS:
        raise UnknownAnalysis(f"there is no analysis {kind!r}: choose one of {', '.join(KINDS)}")
    make: Callable[[Mapping[str, Any]], Analysis] = import_module(f"keyscope.worker.analysis.{kind}").make
    try:
        return make(settings)
    except ValidationError as error:
        raise InvalidSetting(_sentence(kind, error)) from error


def _sentence(kind: str, error: ValidationError) -> str:
    wrong = error.errors()[0]
    name, said = ".".join(map(str, wrong["loc"])), message(wrong)
    if wrong["type"] == "extra_forbidden":
        known = next(each for each in Settings.__subclasses__() if each.__name__ == error.title).model_fields
        return f"the analysis {kind} has no setting {name!r}: it has {', '.join(known)}"
    return f"{name}={wrong['input']!r} is no setting of {kind}: {said}" if name else f"{kind} cannot be set so: {said}"
