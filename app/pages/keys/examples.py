"""The tabs of a key's page: triggers of either polarity and samples of the bands, by language."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import duckdb
from pydantic import StringConstraints

from keyscope.app import queries
from keyscope.app.errors import NotFound
from keyscope.app.labels.models import Evidence
from keyscope.app.pages.keys import stacked
from keyscope.app.queries import Example, Statistics
from keyscope.app.runs import Run
from keyscope.app.web.code import Code, Heat, Line, draw
from keyscope.contract.keys import KeyId

Show = Annotated[str, StringConstraints(pattern=r"^(max|min|random|silent|\d{1,2}-\d{1,3})$")]
"""A polarity or a band: random, silent, or per cent of the windows the key fires in, such as 90-100."""
_TITLES = {"max": "strongest", "min": "most negative", "random": "random", "silent": "silent"}
_HELP = {
    "max": "Windows with the highest coefficients, one for all files in which the same ten tokens lead up to the key.",
    "min": "Windows with the lowest coefficients, one for all files in which the same ten tokens lead up to the key.",
    "random": "Windows drawn at random, whatever the coefficient.",
    "silent": "Windows in which the key does not fire.",
}

FACTORS = (5, 20)
"""Factors, beside 0, to continue the text of an example with."""


def is_band(show: Show) -> bool:
    """Whether examples are from a part of the key's range, in per cent of the windows it fires in."""
    return show not in _TITLES


def title_of(show: Show) -> str:
    """The name of a kind of examples on its tab; of a band, its percentiles."""
    return _TITLES.get(show) or show.replace("-", "\N{EN DASH}")


def help_of(show: Show) -> str:
    """Which examples these are."""
    low, _, high = show.partition("-")
    return _HELP.get(show) or (
        f"Windows whose largest coefficient lies between the {low} % and {high} % quantiles of the windows the key fires in."
    )


def in_order(shows: Iterable[Show]) -> list[Show]:
    """Kinds of examples as the tabs have them: triggers, bands from the top down, random, silent."""
    bands = sorted(set(shows) - _TITLES.keys(), key=lambda band: -int(band.partition("-")[0]))
    order = ["max", "min", *bands, "random", "silent"]
    return sorted(set(shows), key=order.index)


class UnknownExample(NotFound):
    """The key has no example of that name."""


@dataclass(frozen=True, slots=True)
class Card:
    """One example as it is drawn."""

    anchor: str
    language: str
    rank: int
    coefficient: float
    strength: int
    """Length of its bar in per cent of the key's strongest coefficient."""
    path: str
    source: str
    line: int
    column: int
    row: stacked.Row | None
    """The line it is drawn as; None if it is drawn as code."""
    lines: list[Line]
    whole: bool
    """Whether the whole window is drawn."""
    whole_href: str | None
    """Address that shows it, or the lines around the trigger again; None if they are all there is."""
    place: str
    """The trigger token in its file, for labels to rest on."""
    onward: list[tuple[str, str]]
    """Ways to continue its text: what is done to the key, and the address."""
    files: int | None
    """Files in which the same tokens lead up to the trigger; None where they are not counted."""
    places: list[str]
    """Places in further ones of these files, such as `src/a.py:12`."""
    more_places: bool
    """Whether there are still others."""


def scale_of(statistics: Statistics) -> float:
    """The coefficient of the deepest shade: the key's largest absolute value."""
    values = (statistics.get("maximum"), statistics.get("minimum"))
    return max((abs(value) for value in values if isinstance(value, float)), default=0.0)


def name_of(example: Example) -> str:
    """The name of an example on the page of its key: `python-max-3`."""
    return f"{example.language}-{example.polarity or example.band}-{example.rank}"


def text_up_to_trigger(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId, name: str) -> str:
    """The window's text up to the trigger token and with it, of the example with that name.

    Raises:
        UnknownExample: the key has no such example.
    """
    language, _, rest = name.partition("-")
    kind, _, rank = rest.rpartition("-")
    found = queries.first_examples(cursor, run.windows, key, kind, language, int(rank)) if rank.isdecimal() else []
    example = next((each for each in found if name_of(each) == name), None)
    if example is None:
        raise UnknownExample(f"{key} has no example {name!r}: open its page to see those it has")
    return "".join(run.vocabulary.decode(example.window.token_ids[: example.trigger_index + 1]))


def card(
    run: Run, example: Example, heat: Heat, whole: bool, href: str, onward: Callable[[], str], as_row: bool = False
) -> Card:
    """An example as it is drawn, shaded by the heat of its key.

    Args:
        run: its run.
        example: the example.
        heat: how to shade it.
        whole: draw its whole window.
        href: address that shows its whole window, or less of it again.
        onward: gives the address that continues its text without the key.
        as_row: draw it as one line, unless its whole window is drawn.
    """
    cut = run.manifest.settings.preset == "geva2021"
    row = stacked.draw(example, run.vocabulary, heat, cut) if as_row and not whole else None
    if row:
        code = Code([], more=True)
    else:
        parts = partial(run.windows.parts, example.window, example.language)
        code = draw(example, run.vocabulary, heat, parts, whole, cut)
    return Card(
        anchor=name_of(example),
        language=example.language,
        rank=example.rank,
        coefficient=example.coefficient,
        strength=round(100 * min(1.0, abs(example.coefficient) / heat.scale)) if heat.scale else 0,
        path=example.window.file.path,
        source=example.window.file.source,
        line=example.line,
        column=example.column,
        row=row,
        lines=code.lines,
        whole=whole,
        whole_href=href if code.more or whole else None,
        place=str(Evidence(file_sha256=example.window.file.sha256, offset=example.offset)),
        onward=[] if row else _onward(onward()),
        files=example.files,
        places=[str(each) for each in example.places],
        more_places=(example.files or 1) > 1 + len(example.places),
    )


def _onward(address: str) -> list[tuple[str, str]]:
    """The address that continues an example without the key, and with it at several factors."""
    joint = "&" if "?" in address else "?"
    return [("remove", address), *((f"× {factor}", f"{address}{joint}factor={factor}") for factor in FACTORS)]
