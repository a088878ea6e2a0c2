"""Triggers and samples of a key: windows of real code with the coefficient at each token."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb

from keyscope.app.queries.values import clean, rows
from keyscope.app.queries.windows import File, Window, Windows
from keyscope.contract.contexts import context_coefficients
from keyscope.contract.key_documents import FirstTrigger
from keyscope.contract.keys import KeyId

_PLACE = 'coefficient, window_id, position, line, "column", scale, context'
_OF_KEY = 'WHERE layer = ? AND "index" = ?'
_TRIGGERS = f"SELECT language, rank, polarity, NULL, NULL, {_PLACE}, files, places FROM triggers {_OF_KEY}"  # noqa: S608
_SAMPLES = f"SELECT language, rank, NULL, band, quantile, {_PLACE}, NULL, NULL FROM samples {_OF_KEY}"  # noqa: S608
_COEFFICIENT, _WINDOW = 5, 6
"""Their columns."""
_TOKENS = """
    SELECT language, polarity, token_ids[position + 1] AS token_id, token_ids[position + 2]
    FROM triggers t JOIN windows USING (window_id) WHERE layer = ? AND "index" = ?
    ORDER BY abs(coefficient) DESC, language, token_id, polarity, rank"""
_KINDS = """
    SELECT language, polarity, count(*) FROM triggers WHERE layer = ? AND "index" = ? GROUP BY ALL
    UNION ALL SELECT language, band, count(*) FROM samples WHERE layer = ? AND "index" = ? GROUP BY ALL"""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file of the corpus."""

    file: File
    line: int
    """From 1."""
    column: int
    """From 0, in characters."""

    def __str__(self) -> str:
        return f"{self.file.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Example:
    """One window position of a key: a trigger, or a sample of a band."""

    language: str
    rank: int
    polarity: str | None
    """max or min for a trigger, None for a sample."""
    band: str | None
    """The band of a sample, None for a trigger."""
    quantile: float | None
    """Share of windows with a smaller largest coefficient; samples only."""
    coefficient: float
    line: int
    """Line of the trigger token in its file, from 1."""
    column: int
    """Column of the trigger token in characters, from 0."""
    offset: int
    """Index of the trigger token among the tokens of its file, from 0."""
    trigger_index: int
    """Index of the trigger token in the window."""
    window: Window
    context: bytes
    scale: float
    """What the run file keeps of the coefficients; see `context_coefficients`."""
    files: int | None = None
    """Files in which the same tokens lead up to the trigger; None for a sample, and in a run older than the count."""
    places: tuple[Place, ...] = ()
    """Places in further ones of these files, the strongest first."""

    @property
    def coefficients(self) -> list[float | None]:
        """The coefficient at each token; None outside the stored context.

        Exact at the trigger, rounded to float16 beside it.
        """
        found = context_coefficients(self.context, self.scale, self.trigger_index, len(self.window.token_ids))
        found[self.trigger_index] = self.coefficient
        return found


class TriggerToken(NamedTuple):
    """The token of a trigger, and the one that follows it."""

    language: str
    polarity: str
    token_id: int
    next_id: int | None
    """None at the end of a window."""


def trigger_tokens(cursor: duckdb.DuckDBPyConnection, key: KeyId) -> list[TriggerToken]:
    """The trigger tokens of a key in all languages, the strongest first."""
    return [TriggerToken(*row) for row in rows(cursor, _TOKENS, [key.layer, key.index])]


def key_examples(
    cursor: duckdb.DuckDBPyConnection, windows: Windows, key: KeyId
) -> tuple[list[Example], list[Example]]:
    """All triggers by language, polarity and rank, and all samples by language, band and rank, by one lookup."""
    found = rows(cursor, f"{_TRIGGERS} UNION ALL {_SAMPLES}", [key.layer, key.index] * 2)
    examples = _examples(cursor, windows, found)
    triggers = sorted(
        (each for each in examples if each.polarity), key=lambda each: (each.language, each.polarity, each.rank)
    )
    samples = sorted((each for each in examples if each.band), key=lambda each: (each.language, each.band, each.rank))
    return triggers, samples


def key_triggers(
    cursor: duckdb.DuckDBPyConnection,
    windows: Windows,
    key: KeyId,
    language: str | None = None,
    polarity: str | None = None,
) -> list[Example]:
    """The triggers of a key by language, polarity and rank, or only those of one language or polarity."""
    found = rows(cursor, *_narrowed(_TRIGGERS, key, language=language, polarity=polarity))
    return sorted(_examples(cursor, windows, found), key=lambda each: (each.language, each.polarity, each.rank))


def key_samples(
    cursor: duckdb.DuckDBPyConnection,
    windows: Windows,
    key: KeyId,
    language: str | None = None,
    band: str | None = None,
) -> list[Example]:
    """The samples of a key by language, band and rank, or only those of one language or band."""
    found = rows(cursor, *_narrowed(_SAMPLES, key, language=language, band=band))
    return sorted(_examples(cursor, windows, found), key=lambda each: (each.language, each.band, each.rank))


def first_examples(
    cursor: duckdb.DuckDBPyConnection,
    windows: Windows,
    key: KeyId,
    kind: str,
    language: str | None = None,
    limit: int = 2**15,
) -> list[Example]:
    """The first examples of a kind (a polarity or a band) of a language, or of all languages together.

    Triggers come by strength. Samples have no order among languages, so the languages take turns.
    """
    if kind in ("max", "min"):
        sign = -1 if kind == "max" else 1
        sql, values = _narrowed(_TRIGGERS, key, language=language, polarity=kind)
        found = rows(cursor, f"{sql} AND rank <= ?", [*values, limit])
        found.sort(key=lambda row: (sign * row[_COEFFICIENT], *row[:2]))
    else:
        sql, values = _narrowed(_SAMPLES, key, language=language, band=kind)
        found = rows(cursor, f"{sql} AND rank <= ?", [*values, limit])
        found.sort(key=lambda row: (row[1], row[0]))
    return _examples(cursor, windows, found[:limit])


def of_document(cursor: duckdb.DuckDBPyConnection, windows: Windows, first: Sequence[FirstTrigger]) -> list[Example]:
    """The first triggers of all languages together, as the document of their key has them.

    All but the strongest have no context: their tokens have no coefficients, except the trigger's.
    """
    found = [
        (
            each.language,
            each.rank,
            "max",
            None,
            None,
            *each[2:8],
            each.context or b"",
            each.files,
            [dict(zip(("file_id", "line", "column"), place, strict=True)) for place in each.places or ()],
        )
        for each in first
    ]
    return _examples(cursor, windows, found)


def example_counts(cursor: duckdb.DuckDBPyConnection, key: KeyId) -> Counter[tuple[str, str]]:
    """Number of examples of a key, by language and polarity or band."""
    found = rows(cursor, _KINDS, [key.layer, key.index] * 2)
    return Counter({(language, kind): count for language, kind, count in found})


def _narrowed(sql: str, key: KeyId, **wanted: str | None) -> tuple[str, list[object]]:
    """A query about a key narrowed to rows with these values, and its parameters; None stands for any value."""
    # one condition each: DuckDB looks at every row for a condition such as `? IS NULL OR language = ?`
    given = {column: value for column, value in wanted.items() if value is not None}
    return " AND ".join([sql, *(f"{column} = ?" for column in given)]), [key.layer, key.index, *given.values()]


def _examples(cursor: duckdb.DuckDBPyConnection, windows: Windows, found: Sequence[tuple[Any, ...]]) -> list[Example]:
    read = windows.find(cursor, (row[_WINDOW] for row in found))
    files = windows.files(cursor)
    return [_example(row, read[row[_WINDOW]], files) for row in found]


def _example(row: tuple[Any, ...], window: Window, files: Mapping[int, File]) -> Example:
    (
        language,
        rank,
        polarity,
        band,
        quantile,
        coefficient,
        _,
        position,
        line,
        column,
        scale,
        context,
        in_files,
        places,
    ) = row
    return Example(
        language=language,
        rank=rank,
        polarity=polarity,
        band=band,
        quantile=clean(quantile),
        coefficient=coefficient,
        line=line,
        column=column,
        offset=window.offset(position),
        trigger_index=position,
        window=window,
        context=context,
        scale=scale,
        files=in_files,
        places=tuple(Place(files[each["file_id"]], each["line"], each["column"]) for each in places or ()),
    )
