"""Exact search over all keys of a run: those that meet every criterion, sorted, by one SELECT."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.criteria import Criterion, InARow
from keyscope.app.queries.key_rows import KeyRow, rows_of
from keyscope.app.queries.keys import STATISTICS
from keyscope.app.queries.layers import SORT_COLUMNS, Order
from keyscope.app.queries.tokens import Vocabulary
from keyscope.app.queries.values import clean, rows, select, without_nan
from keyscope.contract.keys import KeyId, Stack

CHECKED = 500
"""Keys whose triggers are read for tokens in a row."""
REACH = 32
"""Tokens read before and after a trigger, for a row that it is in."""
_FIRE_ON = """
    SELECT layer, "index", sum(amount) AS hits FROM token_keys
    WHERE relation = 'fires_on' AND token_id IN (SELECT unnest($tokens::INTEGER[])) GROUP BY ALL"""
_AROUND = f"""
    WITH checked AS (SELECT layer, "index" FROM ({_FIRE_ON}) ORDER BY hits DESC, layer, "index" LIMIT $checked),
        around AS (SELECT layer, "index", window_id, position::INTEGER + 1 AS place
            FROM triggers SEMI JOIN checked USING (layer, "index") WHERE polarity = 'max')
    SELECT layer, "index", w.token_ids[greatest(place - $reach, 1) : place + $reach], least(place - 1, $reach), count(*)
    FROM around JOIN windows w USING (window_id)
    WHERE w.token_ids[place] IN (SELECT unnest($tokens::INTEGER[])) GROUP BY ALL"""  # noqa: S608 - constants only
Measure = float | int | None
_FLOATS = {column.name for column in STATISTICS if column.type == "FLOAT"}


@dataclass(frozen=True, slots=True)
class Search:
    """What to search for, and the order; by default that of the first criterion that measures something."""

    criteria: tuple[Criterion, ...] = ()
    sort: str | None = None
    order: Order | None = None

    @property
    def row(self) -> InARow | None:
        """The criterion of tokens in a row, if it is among them."""
        return next((each for each in self.criteria if isinstance(each, InARow)), None)


@dataclass(frozen=True, slots=True)
class Hit:
    row: KeyRow
    measures: dict[str, Measure]
    """What the criteria measured, by name."""


@dataclass(frozen=True, slots=True)
class Found:
    """The keys found; one page of them as table rows."""

    hits: list[Hit]
    keys: npt.NDArray[np.uint32]
    """Layer and index of the first keys, sorted, shape [2, keys]: to the end of the page, or further if asked."""
    in_layers: Mapping[int, int]
    """How many of them each layer has; layers without any are left out."""
    measures: Mapping[str, Order]
    """What the criteria measured, each with its default sort order."""
    sort: str
    order: Order
    stack: Stack = "L"
    """The stack that all of them are in."""

    @property
    def total(self) -> int:
        return sum(self.in_layers.values())

    def by_layer(self, n_layers: int) -> list[int]:
        """How many keys were found in each layer."""
        return [self.in_layers.get(layer, 0) for layer in range(n_layers)]

    def names(self, first: int, last: int) -> list[KeyId]:
        """The names of the keys found at places `first` to `last`."""
        return [KeyId(layer, index, self.stack) for layer, index in self.keys[:, first:last].T.tolist()]


NOTHING = Found([], np.empty((2, 0), np.uint32), {}, {}, "index", "asc")
"""What a search finds that cannot be made."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A search as SQL: the parts of its SELECT."""

    columns: str
    """Layer, index and measures."""
    tables: str
    """What follows FROM, conditions included."""
    values: list[object]
    by: str
    """The expression to sort by."""
    measures: Mapping[str, Order]
    sort: str
    order: Order

    @property
    def ordered(self) -> str:
        """What follows ORDER BY, given the column `by_value`; keys without the value come last."""
        return f'by_value {self.order} NULLS LAST, layer, "index"'

    def first(self) -> str:
        """The SELECT of the first keys, up to a limit given as one more value, and of the count for each layer.

        Rows with 0 `keys` are keys, sorted; the others are layers. One pass over the criteria serves both, and no more
        is sorted than is asked for.
        """
        nothing = ", NULL" * len(self.measures)
        return f"""
            WITH found AS MATERIALIZED (SELECT {self.columns}, {self.by} AS by_value FROM {self.tables})
            (SELECT * EXCLUDE by_value, 0 AS keys FROM found ORDER BY {self.ordered} LIMIT ?)
            UNION ALL SELECT layer, 0{nothing}, count(*) FROM found GROUP BY layer"""  # noqa: S608 - our own names


def search(
    cursor: duckdb.DuckDBPyConnection,
    vocabulary: Vocabulary,
    wanted: Search,
    limit: int = 50,
    offset: int = 0,
    named: int = 0,
) -> Found:
    """The keys that meet all criteria, sorted: those from `offset` on as table rows, the first ones by name.

    Args:
        cursor: on the run.
        vocabulary: its tokens.
        wanted: the criteria and the order.
        limit: keys on the page.
        offset: keys before it.
        named: how many of the first keys to name, if that goes beyond the page.

    Raises:
        InvalidParameter: the keys cannot be sorted by what was asked for.
    """
    plan = _plan(wanted, vocabulary)
    columns = cursor.execute(plan.first(), [*plan.values, max(offset + limit, named)]).fetchnumpy()
    of_layers = columns.pop("keys")
    key = of_layers == 0
    in_layers = dict(zip(columns["layer"][~key].tolist(), of_layers[~key].tolist(), strict=True))
    keys = np.stack([columns["layer"][key], columns["index"][key]]).astype(np.uint32)
    ((stack,),) = rows(cursor, "SELECT stack FROM keys LIMIT 1")
    found = Found([], keys, in_layers, plan.measures, plan.sort, plan.order, stack)
    measured = {name: columns[name][key][offset : offset + limit].tolist() for name in plan.measures}
    for number, row in enumerate(rows_of(cursor, vocabulary, found.names(offset, offset + limit))):
        found.hits.append(Hit(row, {name: clean(values[number]) for name, values in measured.items()}))
    return found


def found_statistics(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, wanted: Search
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the measures; and for every key found, sorted: layer, index, its measures and all statistics."""
    plan = _plan(wanted, vocabulary, with_statistics=True)
    sql = f"""
        SELECT * EXCLUDE by_value
        FROM (SELECT {plan.columns}, {select(STATISTICS, "k")}, {plan.by} AS by_value FROM {plan.tables})
        ORDER BY {plan.ordered}"""  # noqa: S608 - our own names
    return list(plan.measures), rows(cursor, sql, plan.values)


def in_a_row(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, text: bytes, most: int = CHECKED) -> InARow:
    """The keys with triggers within several tokens in a row, whose bytes together are `text`, or a blank and `text`.

    Rows have no index: the triggers of the keys that fire most on these tokens are read, of `most` keys.
    """
    asked = {"tokens": vocabulary.likely(text)}
    candidates = cursor.execute(f"SELECT count(*) FROM ({_FIRE_ON})", asked).fetchall()[0][0]  # noqa: S608 - a constant
    found: Counter[KeyId] = Counter()
    around = cursor.execute(_AROUND, asked | {"checked": most, "reach": min(len(text), REACH)})
    for layer, index, ids, at, count in around.fetchall():
        if vocabulary.is_within(ids, at, text):
            found[KeyId(layer, index)] += count
    return InARow(text, tuple(found.items()), min(candidates, most), candidates)


def known_concepts(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of the concepts with known keys, sorted."""
    return [name for (name,) in rows(cursor, "SELECT DISTINCT name FROM concepts ORDER BY name")]


def _plan(wanted: Search, vocabulary: Vocabulary, with_statistics: bool = False) -> _Plan:
    clauses = [criterion.clause(vocabulary) for criterion in wanted.criteria]
    measuring = [clause for clause in clauses if clause.measures]
    tests = [clause for clause in clauses if not clause.measures]
    measures: dict[str, Order] = {}
    sources: dict[str, str] = {}
    for number, clause in enumerate(measuring):
        for name, first in clause.measures.items():
            # if two criteria measure the same, the first one wins
            measures.setdefault(name, first)
            sources.setdefault(name, f'm{number}."{name}"')
    sort = wanted.sort or next(iter(measures), "contribution")
    tables = [f"({clause.sql}) m{number}" for number, clause in enumerate(measuring)]
    if tests or with_statistics or sort not in ("index", *sources):
        # measures come with layer and index of their own, so the table of keys is joined only for what it alone has
        tables.insert(0, "keys k")
    joined = tables[0] + "".join(f' JOIN {table} USING (layer, "index")' for table in tables[1:])
    return _Plan(
        columns=", ".join(["layer", '"index"', *sources.values()]),
        tables=f"{joined} WHERE {' AND '.join(['true', *(clause.sql for clause in tests)])}",
        values=[value for clause in (*measuring, *tests) for value in clause.values],
        by=_by(sort, sources),
        measures=measures,
        sort=sort,
        order=wanted.order or measures.get(sort, "desc"),
    )


def _by(sort: str, sources: Mapping[str, str]) -> str:
    """The expression to sort by: a measure, the index or a statistic."""
    if sort in sources:
        return sources[sort]
    if sort not in SORT_COLUMNS:
        known = ", ".join((*sources, *SORT_COLUMNS))
        raise InvalidParameter(f"these keys cannot be sorted by {sort!r}: choose one of {known}")
    column = f'"{sort}"' if sort == "index" else f'k."{sort}"'
    return without_nan(column) if sort in _FLOATS else column
