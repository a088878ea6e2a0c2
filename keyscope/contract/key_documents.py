"""What a run knows about one key, with its first triggers, in one document, so that a page reads it by one lookup."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from keyscope.contract.tables import KEY, Column, Table

KEY_DOCUMENTS = Table(
    "key_documents", (*KEY, Column("document", "BLOB", "A KeyDocument in JSON, compressed by zlib")), ("layer", "index")
)
"""Everything in it is in other tables too; files older than it have no documents."""
LONGEST = 2**20
"""Bytes of the longest document that is read; real ones have about fifteen thousand."""
FIRST = 15
"""Triggers that a document has: those that a page shows at first."""
AT_A_TIME = 1024
"""Keys whose documents are put together at once, which bounds the memory this takes."""

QUICK = 1
"""Level of compression: the best one takes twice as long and saves a tenth."""

Value = float | int | str | bool | None

_KEYS = 'WHERE layer = $layer AND "index" BETWEEN $first AND $last'
_STATISTICS = f'SELECT "index", * EXCLUDE (layer, "index") FROM keys {_KEYS} ORDER BY "index"'  # noqa: S608 - constants, as below
_MOMENTS = f"""
    SELECT "index", language, * EXCLUDE (layer, "index", language) FROM language_statistics {_KEYS}
    ORDER BY "index", language"""  # noqa: S608
_HISTOGRAMS = f'SELECT "index", language, tokens, windows FROM histograms {_KEYS} ORDER BY "index", language'  # noqa: S608
_FIRES_ON = f"""
    SELECT "index", list(token_id ORDER BY rank), list("count" ORDER BY rank) FROM fires_on {_KEYS} GROUP BY "index" """  # noqa: S608
_VALUE_TOKENS = f"""
    SELECT "index", projection, direction, list(token_id ORDER BY rank), list(logit ORDER BY rank)
    FROM value_tokens {_KEYS} GROUP BY "index", projection, direction ORDER BY "index", projection, direction"""  # noqa: S608
_EXAMPLES = f"""
    SELECT "index", language, polarity, count(*) FROM triggers {_KEYS} GROUP BY "index", language, polarity
    UNION ALL SELECT "index", language, band, count(*) FROM samples {_KEYS} GROUP BY "index", language, band
    ORDER BY ALL"""  # noqa: S608
_TRIGGER_TOKENS = f"""
    SELECT "index", language, polarity, token_ids[position + 1] AS token_id, token_ids[position + 2]
    FROM (SELECT * FROM triggers {_KEYS}) JOIN windows USING (window_id)
    ORDER BY "index", abs(coefficient) DESC, language, token_id, polarity, rank"""  # noqa: S608

_FIRST = f"""
    SELECT "index", language, rank, coefficient, window_id, position, line, "column", scale,
        CASE WHEN place = 1 THEN context END, files, [(each.file_id, each.line, each."column") FOR each IN places]
    FROM (
        SELECT *, row_number() OVER (PARTITION BY "index" ORDER BY coefficient DESC, language, rank) AS place
        FROM triggers {_KEYS} AND polarity = 'max' AND rank <= {FIRST}
    ) WHERE place <= {FIRST} ORDER BY "index", place"""  # noqa: S608


class BadDocument(ValueError):
    """The bytes are no document of a key."""


class FirstTrigger(NamedTuple):
    """One of a key's strongest triggers, as in the table of triggers."""

    language: str
    rank: int
    coefficient: float
    window_id: int
    position: int
    line: int
    column: int
    scale: float
    context: bytes | None
    """Of the strongest one: the others are drawn as single lines at first, without it."""
    files: int | None
    places: list[tuple[int, int, int]] | None
    """File, line and column of each."""


class KeyDocument(BaseModel):
    """Everything about a key but its examples, of which it has the first."""

    model_config = ConfigDict(allow_inf_nan=False, strict=True, val_json_bytes="base64")

    statistics: dict[str, Value]
    """By column of `runfile.KEYS`."""
    by_language: list[tuple[str, dict[str, Value]]]
    """Languages with their moments by column."""
    histograms: list[tuple[str, list[int], list[int]]]
    """Languages with tokens and windows per bin."""
    fires_on: list[tuple[int, int]]
    """Tokens and counts, the commonest first."""
    value_tokens: list[tuple[str, str, list[tuple[int, float]]]]
    """Projections and directions with tokens and logits, the strongest first."""
    examples: list[tuple[str, str, int]]
    """Languages, polarities or bands, and the number of examples."""
    trigger_tokens: list[tuple[str, str, int, int | None]]
    """Language, polarity, token and the token after it of each trigger, the strongest first."""
    first: list[FirstTrigger] | None = None
    """The first triggers of all languages together, the strongest first; None in documents older than they."""

    @classmethod
    def unpack(cls, stored: bytes | None) -> "KeyDocument":
        """The document in these bytes.

        Raises:
            BadDocument: there is none, or it is too long.
        """
        try:
            text = zlib.decompressobj().decompress(stored or b"", LONGEST)
            return cls.model_validate_json(text)
        except (zlib.error, ValidationError) as error:
            raise BadDocument(str(error)) from error


def write_documents(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill the table from the others, which have to be complete."""
    sizes = connection.execute('SELECT layer, max("index") + 1 FROM keys GROUP BY layer ORDER BY layer').fetchall()
    for layer, size in sizes:
        for first in range(0, size, AT_A_TIME):
            found = list(_documents(connection, layer, first, first + AT_A_TIME - 1))
            connection.execute(
                f"INSERT INTO {KEY_DOCUMENTS.name} SELECT ?, unnest(?::UINTEGER[]), unnest(?::BLOB[])",
                [layer, [index for index, _ in found], [zlib.compress(document, QUICK) for _, document in found]],
            )


def _documents(connection: duckdb.DuckDBPyConnection, layer: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """The index of each key from `first` to `last` of a layer, and its document in JSON."""
    asked = {"layer": layer, "first": first, "last": last}

    def ask(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql, asked).fetchall()

    def named(rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        names = [name for name, *_ in connection.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    statistics = named(ask(_STATISTICS))
    found: dict[int, dict[str, Any]] = {
        each.pop("index"): {
            "statistics": each,
            **{name: [] for name in KeyDocument.model_fields if name != "statistics"},
        }
        for each in statistics
    }
    for each in named(ask(_MOMENTS)):
        found[each.pop("index")]["by_language"].append((each.pop("language"), each))
    for index, *histogram in ask(_HISTOGRAMS):
        found[index]["histograms"].append(histogram)
    for index, token_ids, counts in ask(_FIRES_ON):
        found[index]["fires_on"] = list(zip(token_ids, counts, strict=True))
    for index, projection, direction, token_ids, logits in ask(_VALUE_TOKENS):
        listed = list(zip(token_ids, logits, strict=True))
        found[index]["value_tokens"].append((projection, direction, listed))
    for index, *counted in ask(_EXAMPLES):
        found[index]["examples"].append(counted)
    for index, *trigger in ask(_TRIGGER_TOKENS):
        found[index]["trigger_tokens"].append(trigger)
    for index, *first_trigger in ask(_FIRST):
        found[index]["first"].append(first_trigger)
    # NaN becomes null
    return ((index, to_json(document, inf_nan_mode="null", bytes_mode="base64")) for index, document in found.items())
