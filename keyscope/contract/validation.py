"""Pydantic's complaints as sentences, the same everywhere that people read them."""

from collections.abc import Sequence
from typing import Any

_LISTED = 3
_DEEPEST = 32
_LONGEST_VALUE = 60


def check_text(text: str) -> None:
    """Check that a text can be written as UTF-8.

    Raises:
        ValueError: it has half a surrogate pair, which JSON can spell.
    """
    half = next((each for each in text if "\ud800" <= each <= "\udfff"), None)
    if half is not None:
        raise ValueError(f"U+{ord(half):04X} is half a character: remove it")


def check_json(value: Any) -> None:
    """Check that parsed JSON can be written again.

    Raises:
        ValueError: it is nested more than 32 deep, or a text in it is not valid Unicode.
    """
    level = [value]
    for _ in range(_DEEPEST + 1):
        for each in level:
            if isinstance(each, str):
                check_text(each)
        level = [part for each in level for part in _parts(each)]
    if level:
        raise ValueError(f"lists and objects are nested more than {_DEEPEST} deep: flatten them")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def reason(wrong: Any) -> str:
    """What is wrong with one value: `Input should be greater than or equal to 1, got 0`.

    Args:
        wrong: an entry of `ValidationError.errors()`.
    """
    value = wrong.get("input")
    # our own validators name the value in their sentences; of a missing field the input is what it is missing from
    shown = isinstance(value, str | int | float) and wrong["type"] not in ("value_error", "missing")
    return f"{message(wrong)}, got {value!r:.{_LONGEST_VALUE}}" if shown else message(wrong)


def message(wrong: Any) -> str:
    """The same without the value, for callers that have named it already."""
    cause = wrong.get("ctx", {}).get("error")
    return str(cause if isinstance(cause, Exception) else wrong["msg"])


def sentence(errors: Sequence[Any], start: int = 0, whole: str = "") -> str:
    """The first wrong values and how many more there are: `limit: Input should be …, got 5000; and 2 more wrong values`.

    Args:
        errors: as `ValidationError.errors()` lists them.
        start: how many leading parts of each location to leave out.
        whole: name of the validated object, for errors that concern no single field.
    """
    clauses = []
    for wrong in errors[:_LISTED]:
        place = ".".join(map(str, wrong["loc"][start:])) or whole
        clauses.append(f"{place}: {reason(wrong)}" if place else reason(wrong))
    more = len(errors) - _LISTED
    return "; ".join([*clauses, *([f"and {more} more wrong {'value' if more == 1 else 'values'}"] if more > 0 else [])])
