"""The tabs of a key's page: triggers of either polarity and samples of the bands, by language."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import duckdb

from keyscope.app import queries
from keyscope.app.labels.models import Evidence
from keyscope.app.queries import Example, Statistics, Vocabulary
from keyscope.app.web.code import Line, code_lines
from keyscope.contract.keys import KeyId

Show = Literal["max", "min", "80-95", "50-80", "0-50", "random", "silent"]
SHOWS: tuple[Show, ...] = get_args(Show)
TITLES: dict[Show, str] = {
    "max": "strongest",
    "min": "most negative",
    "80-95": "80\N{EN DASH}95 %",
    "50-80": "50\N{EN DASH}80 %",
    "0-50": "lower half",
    "random": "random",
    "silent": "silent",
}
HELP: dict[Show, str] = {
    "max": "Windows with the highest coefficients, at most one of each file.",
    "min": "Windows with the lowest coefficients, at most one of each file.",
    "80-95": "Windows whose largest coefficient lies between the 80 % and 95 % quantiles of all windows.",
    "50-80": "Windows whose largest coefficient lies between the 50 % and 80 % quantiles of all windows.",
    "0-50": "Windows whose largest coefficient lies in the lower half of all windows.",
    "random": "Windows drawn at random, whatever the coefficient.",
    "silent": "Windows in which the key does not fire.",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One example as it is drawn."""

    anchor: str
    rank: int
    coefficient: float
    strength: int
    """Length of its bar in per cent of the key's strongest coefficient."""
    path: str
    source: str
    line: int
    column: int
    lines: list[Line]
    more: bool
    """Whether the window has lines that are shown on request only."""
    prompt: str
    """The window's text up to the trigger token and with it, to continue from."""
    place: str
    """The trigger token in its file, for labels to rest on."""


def load(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, key: KeyId, language: str, show: Show
) -> list[Example]:
    """The examples of one tab."""
    if show in ("max", "min"):
        return queries.key_triggers(cursor, vocabulary, key, language, show)
    return queries.key_samples(cursor, vocabulary, key, language, show)


def scale_of(statistics: Statistics) -> float:
    """The coefficient of the deepest shade: the key's largest absolute value."""
    values = (statistics.get("maximum"), statistics.get("minimum"))
    return max((abs(value) for value in values if isinstance(value, float)), default=0.0)


def cards(examples: Iterable[Example], scale: float, cut: bool = False) -> list[Card]:
    """The examples as they are drawn, shaded on the scale of their key; `cut` ends each at its trigger token."""
    return [_card(example, scale, cut) for example in examples]


def _card(example: Example, scale: float, cut: bool) -> Card:
    if cut:
        example = replace(example, tokens=example.tokens[: example.trigger_index + 1])
    kind = example.polarity or example.band
    lines = code_lines(example, scale)
    upto = example.tokens[: example.trigger_index + 1]
    return Card(
        anchor=f"{example.language}-{kind}-{example.rank}",
        rank=example.rank,
        coefficient=example.coefficient,
        strength=round(100 * min(1.0, abs(example.coefficient) / scale)) if scale else 0,
        path=example.path,
        source=example.source,
        line=example.line,
        column=example.column,
        lines=lines,
        more=any(line.far for line in lines),
        prompt="".join(token.text for token in upto if not token.token.special),
        place=str(Evidence(file_sha256=example.file_sha256, offset=example.offset)),
    )
