"""One key in a notebook: its triggers, values and histogram as relations, and itself drawn as code."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from keyscope.contract import bins
from keyscope.contract.contexts import context_coefficients
from keyscope.contract.keys import KeyId
from keyscope.contract.token_text import decode
from keyscope.notebook.drawing import key_as_html
from keyscope.notebook.texts import relation_of

_STATISTICS = 'SELECT * FROM keys WHERE layer = ? AND "index" = ?'
_VALUES = """
    SELECT projection, direction, rank, text AS token, token_id, logit
    FROM value_tokens LEFT JOIN token_texts USING (token_id)
    WHERE layer = ? AND "index" = ? ORDER BY projection, direction, rank"""
_HISTOGRAMS = 'SELECT language, tokens, windows FROM histograms WHERE layer = ? AND "index" = ? ORDER BY language'
_EXAMPLES = """
    SELECT e.language, e.{kind}, e.rank, e.coefficient, f.source, f.path, e.line, e."column", f.sha256, e.window_id,
        e.position, e.scale, e.context, w.line, w.token_ids
    FROM {table} e JOIN windows w USING (window_id) JOIN files f USING (file_id)
    WHERE e.layer = ? AND e."index" = ? ORDER BY e.language, e.{kind}, e.rank"""
_SHOWN = {
    "rank": "USMALLINT",
    "coefficient": "FLOAT",
    "token": "VARCHAR",
    "code": "VARCHAR",
    "source": "VARCHAR",
    "path": "VARCHAR",
    "line": "UINTEGER",
    "column": "UINTEGER",
    "file_sha256": "VARCHAR",
    "window_id": "UINTEGER",
    "position": "USMALLINT",
    "tokens": "VARCHAR[]",
    "coefficients": "FLOAT[]",
}
"""Columns of an example after language and polarity or band."""


@dataclass(frozen=True, slots=True)
class Example:
    """A place in the corpus where the key was read."""

    language: str
    kind: str
    """Polarity of a trigger, band of a sample."""
    rank: int
    coefficient: float
    source: str
    path: str
    line: int
    """Line of the trigger token in its file, from 1."""
    column: int
    """Column of it in characters, from 0."""
    file_sha256: str
    window_id: int
    position: int
    """Index of the trigger token in `tokens`."""
    first_line: int
    """Line of the window's first token."""
    tokens: list[str]
    """Texts of the whole window; control tokens have none."""
    coefficients: list[float | None]
    """At each token; None outside the stored context."""


class Key:
    """One key of a run. In a notebook it draws its strongest triggers as code."""

    def __init__(self, connection: DuckDBPyConnection, key: KeyId) -> None:
        self._connection = connection
        self.id = key

    @property
    def name(self) -> str:
        """Its name, such as `L5.K312`."""
        return str(self.id)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """All statistics by column name."""
        found = self._connection.execute(_STATISTICS, self._place)
        names = [column[0] for column in found.description or ()]
        (row,) = found.fetchall()
        return dict(zip(names, row, strict=True))

    @property
    def triggers(self) -> DuckDBPyRelation:
        """The places where its coefficient is highest (and lowest, where that means something), with their windows."""
        return self._relation("polarity", self._examples("triggers", "polarity"))

    @property
    def samples(self) -> DuckDBPyRelation:
        """Places from the whole range of its coefficient, by band."""
        return self._relation("band", self._examples("samples", "band"))

    @property
    def values(self) -> DuckDBPyRelation:
        """The tokens that its value promotes and suppresses most, by projection, with their logits."""
        return self._connection.sql(_VALUES, params=self._place)

    @property
    def histogram(self) -> DuckDBPyRelation:
        """How many sampled tokens and how many windows fall into each bin of the coefficient, by language."""
        edges = bins.edges()
        cells = [
            (language, *cell)
            for language, tokens, windows in self._rows(_HISTOGRAMS, self._place)
            for cell in zip(edges[:-1], edges[1:], tokens, windows, strict=True)
        ]
        columns = {"language": "VARCHAR", "low": "DOUBLE", "high": "DOUBLE", "tokens": "UBIGINT", "windows": "UBIGINT"}
        return relation_of(self._connection, columns, cells)

    @property
    def _place(self) -> list[int]:
        return [self.id.layer, self.id.index]

    def _examples(self, table: str, kind: str) -> list[Example]:
        query = _EXAMPLES.format(table=table, kind=kind)
        found = self._rows(query, self._place)
        wanted = sorted({token_id for row in found for token_id in row[-1]})
        query = 'SELECT token_id, "bytes", special FROM tokens WHERE token_id IN (SELECT unnest(?))'
        tokens = {number: b"" if special else exact for number, exact, special in self._rows(query, [wanted])}
        return [_example(row, tokens) for row in found]

    def _rows(self, query: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, parameters).fetchall()

    def _relation(self, kind: str, examples: list[Example]) -> DuckDBPyRelation:
        rows = [
            (
                *(each.language, each.kind, each.rank, each.coefficient),
                *(each.tokens[each.position], "".join(each.tokens), each.source, each.path, each.line, each.column),
                *(each.file_sha256, each.window_id, each.position, each.tokens, each.coefficients),
            )
            for each in examples
        ]
        return relation_of(self._connection, {"language": "VARCHAR", kind: "VARCHAR"} | _SHOWN, rows)

    def __repr__(self) -> str:
        return f"<Key {self.name}>"

    def _repr_html_(self) -> str:
        promoted = self.values.filter("projection = 'normed' AND direction = 'promoted' AND rank <= 10")
        tokens = [row[0] for row in promoted.project("token").fetchall()]
        strongest = [each for each in self._examples("triggers", "polarity") if each.kind == "max"]
        return key_as_html(self.name, self.statistics, tokens, strongest)


def _example(row: tuple[Any, ...], tokens: dict[int, bytes]) -> Example:
    language, kind, rank, coefficient, source, path, line, column, sha256, window_id = row[:10]
    position, scale, context, first_line, token_ids = row[10:]
    coefficients = context_coefficients(context, scale, position, len(token_ids))
    coefficients[position] = coefficient  # stored exactly; its neighbours are rounded to float16
    return Example(
        language=language,
        kind=kind,
        rank=rank,
        coefficient=coefficient,
        source=source,
        path=path,
        line=line,
        column=column,
        file_sha256=sha256,
        window_id=window_id,
        position=position,
        first_line=first_line,
        tokens=decode([tokens.get(token_id, b"") for token_id in token_ids]),
        coefficients=coefficients,
    )
