"""Exact search over all keys of a run: those for which every one of some criteria holds, in order, by one SELECT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from app.errors import InvalidParameter
from app.queries.criteria import Criterion
from app.queries.key_rows import KeyRow, rows_of
from app.queries.keys import STATISTICS
from app.queries.layers import SORT_COLUMNS, Order
from app.queries.tokens import Vocabulary
from app.queries.values import clean, rows, select, without_nan
from contract.keys import KeyId

Measure = float | int | None
_FLOATS = {column.name for column in STATISTICS if column.type == "FLOAT"}


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for and in which order: that of the first criterion that measures something, unless named."""

    criteria: tuple[Criterion, ...] = ()
    sort: str | None = None
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A key found."""

    row: KeyRow
    measures: dict[str, Measure]
    """What the criteria measured, by name."""


@dataclass(frozen=True, slots=True)
class Found:
    """The keys found, one page of them as table rows."""

    hits: list[Hit]
    keys: npt.NDArray[np.uint32]
    """Layer and index of all of them, in order, [2, keys]."""
    measures: Mapping[str, Order]
    """What the criteria measured, and which end of it is the first."""
    sort: str
    order: Order

    @property
    def total(self) -> int:
        """Keys found, on all pages."""
        return len(self.keys[0])

    def by_layer(self, n_layers: int) -> list[int]:
        """How many keys were found in each layer."""
        return [int(count) for count in np.bincount(self.keys[0], minlength=n_layers)]

    def names(self, first: int, last: int) -> list[KeyId]:
        """The names of keys found, by their places in the order."""
        return [KeyId(layer, index) for layer, index in self.keys[:, first:last].T.tolist()]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A search as SQL: what follows the columns of its SELECT."""

    clauses: str
    values: list[object]
    measures: Mapping[str, Order]
    sources: Mapping[str, str]
    """The joined table that has each measure."""
    sort: str
    order: Order

    @property
    def columns(self) -> str:
        """Layer, index and measures."""
        return ", ".join(["k.layer", 'k."index"', *(f'{self.sources[name]}."{name}"' for name in self.measures)])


def search(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, wanted: Search, limit: int = 50, offset: int = 0
) -> Found:
    """The keys for which all criteria hold, in order; those from `offset` on as table rows.

    Raises:
        InvalidParameter: they cannot be sorted by that.
    """
    plan = _plan(wanted, vocabulary)
    columns = cursor.execute(f"SELECT {plan.columns} {plan.clauses}", plan.values).fetchnumpy()
    keys = np.stack([columns["layer"].astype(np.uint32), columns["index"]])
    found = Found([], keys, plan.measures, plan.sort, plan.order)
    measured = {name: columns[name][offset : offset + limit].tolist() for name in plan.measures}
    for number, row in enumerate(rows_of(cursor, vocabulary, found.names(offset, offset + limit))):
        found.hits.append(Hit(row, {name: clean(values[number]) for name, values in measured.items()}))
    return found


def found_statistics(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, wanted: Search
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of what the criteria measured; and of every key found, in order: layer, index, that, all statistics."""
    plan = _plan(wanted, vocabulary)
    columns = f"{plan.columns}, {select(STATISTICS, 'k')}"
    return list(plan.measures), rows(cursor, f"SELECT {columns} {plan.clauses}", plan.values)


def known_concepts(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of the concepts whose keys are known, in order."""
    return [name for (name,) in rows(cursor, "SELECT DISTINCT name FROM concepts ORDER BY name")]


def _plan(wanted: Search, vocabulary: Vocabulary) -> _Plan:
    clauses = [criterion.clause(vocabulary) for criterion in wanted.criteria]
    tables = [clause for clause in clauses if clause.measures]
    tests = [clause for clause in clauses if not clause.measures]
    measures: dict[str, Order] = {}
    sources: dict[str, str] = {}
    for number, clause in enumerate(tables):
        for name, first in clause.measures.items():
            # Where two criteria measure the same, the one that was asked for first is shown.
            measures.setdefault(name, first)
            sources.setdefault(name, f"m{number}")
    joins = "".join(f' JOIN ({clause.sql}) m{number} USING (layer, "index")' for number, clause in enumerate(tables))
    where = " AND ".join(["true", *(clause.sql for clause in tests)])
    sort = wanted.sort or next(iter(measures), "contribution")
    order = wanted.order or measures.get(sort, "desc")
    return _Plan(
        f"FROM keys k{joins} WHERE {where} {_order(sort, order, sources)}",
        [value for clause in (*tables, *tests) for value in clause.values],
        measures,
        sources,
        sort,
        order,
    )


def _order(sort: str, order: Order, sources: Mapping[str, str]) -> str:
    """Keys without the value come last."""
    if sort not in sources and sort not in SORT_COLUMNS:
        known = ", ".join((*sources, *SORT_COLUMNS))
        raise InvalidParameter(f"these keys cannot be sorted by {sort!r}: choose one of {known}")
    column = f'{sources.get(sort, "k")}."{sort}"'
    if sort in _FLOATS:
        column = without_nan(column)
    return f'ORDER BY {column} {order} NULLS LAST, k.layer, k."index"'
