"""The section of a key's page on when it fires: by language, by window position and in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from keyscope.app.analyses.kind import Fact
from keyscope.app.queries.firing import RANGES, DetectedToken, KeyFiring, LanguageRates, key_firing
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.contract.analyses.firing import CLASSES, LEVELS, SHAPES
from keyscope.contract.keys import KeyId

WIDTH, HEIGHT = 300, 36
"""Size of the drawing by window position."""
_GAP = 1
_TITLES = {
    "strong_level": "fires strongly from",
    "position_information": "information on position",
    "position_information_strong": "the same, strongly",
    "strong_language_entropy": "entropy over languages",
    "language_q": "languages differ, q",
    "own_logit": "own tokens' logit",
}
"""Titles of the columns of the analysis that the section shows."""


@dataclass(frozen=True, slots=True)
class PositionBar:
    """The firing rate in one bucket of window positions."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class FiringOfKey:
    tokens: list[DetectedToken]
    """The tokens it detects."""
    level: str
    """What counts as firing for these, in a sentence."""
    marks: list[tuple[str, str]]
    """What the key is, such as specific to a language, positional or a suppression key, each with an explanation."""
    facts: list[Fact]
    languages: list[LanguageRates]
    positions: list[tuple[str, list[PositionBar]]]
    """Rates by window position, for each level."""
    width: int = WIDTH
    height: int = HEIGHT


def firing_of_key(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> FiringOfKey | None:
    """The section of a key; None if the analysis is missing."""
    found = key_firing(cursor, run.blocks, run.vocabulary, key)
    if found is None:
        return None
    return FiringOfKey(
        tokens=found.tokens,
        level=LEVELS[found.tokens[0].level] if found.tokens else "",
        marks=_marks(found),
        facts=[
            Fact(title, RANGES[name].help, _written(found.columns.get(name)), f"help-firing-{name}")
            for name, title in _TITLES.items()
            if found.columns.get(name) is not None
        ],
        languages=found.languages,
        positions=[(LEVELS[level], _bars(rates)) for level, rates in found.positions.items()],
    )


def _marks(found: KeyFiring) -> list[tuple[str, str]]:
    columns = found.columns
    marks = []
    if language := columns["specific_language"]:
        marks.append(
            (f"specific to {formats.language(str(language))}", "Its strong firing has low entropy over languages")
        )
    if shape := columns["position_shape"]:
        marks.append((f"positional: {shape}", SHAPES[str(shape)]))
    if weight_class := columns["folded_class"]:
        marks.append((f"{weight_class} key", CLASSES[str(weight_class)]))
    return marks


def _written(value: object) -> str:
    return formats.number(float(value)) if isinstance(value, int | float) else formats.NOTHING


def _bars(rates: Sequence[float]) -> list[PositionBar]:
    step, highest = WIDTH / len(rates), max(*rates, 1e-9)
    return [
        PositionBar(
            x=round(number * step, 2),
            y=round(HEIGHT * (1 - rate / highest), 2),
            width=round(step - _GAP, 2),
            height=round(HEIGHT * rate / highest, 2),
            title=f"bucket {number + 1} of {len(rates)}: {formats.share(rate)}",
        )
        for number, rate in enumerate(rates)
    ]
