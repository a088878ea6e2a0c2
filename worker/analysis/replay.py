"""Computing an experiment again from its recipe, and telling where its rows differ from those that were published."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import torch

from keyscope.contract.analyses.digest import digests
from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.recipes import Recipe
from keyscope.contract.tables import Table
from keyscope.worker.analysis.analysis import Analysis, Arrays
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import rests_on, split_sha256
from keyscope.worker.analysis.subject import Subject

_PART = "edit"
"""Column with the name of the part, in tables of kinds that have several."""


@dataclass(frozen=True)
class Replayed:
    """What came of computing an experiment again."""

    premises: list[str]
    """Sentences on what it rests on and is another now."""
    differences: list[str]
    """Sentences on tables with other rows; none if all rows are equal."""

    @property
    def equal(self) -> bool:
        """Whether all rows are equal."""
        return not self.differences


def replay(subject: Subject, recipe: Recipe) -> Replayed:
    """Compute an experiment again, in memory, and compare every table's rows with the recipe's digests."""
    analysis = make_analysis(recipe.kind, recipe.settings)
    tables = KINDS[recipe.kind]
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    with duckdb.connect() as connection:
        for table in tables:
            connection.execute(table.ddl())
        analysis.write(subject, connection, _steps(subject, analysis))
        found = digests(connection, tables)
        others = [table for table in tables if found[table.name] != recipe.rows.get(table.name)]
        differences = [_difference(subject, recipe, connection, table) for table in others]
    return Replayed(_premises(subject, analysis, recipe), differences)


def _steps(subject: Subject, analysis: Analysis) -> Mapping[str, Arrays]:
    done: dict[str, Arrays] = {}
    steps = analysis.steps(subject)
    with subject.progress.stage(f"replaying {analysis.kind}", len(steps), "steps") as advance:
        for step in steps:
            done[step.name] = analysis.run_step(subject, step, done, lambda _done: advance(0))
            advance(1)
    return done


def _premises(subject: Subject, analysis: Analysis, recipe: Recipe) -> list[str]:
    now = {**rests_on(subject, analysis), "the split of the files": split_sha256(subject)}
    then = {**recipe.rests_on, "the split of the files": recipe.split_sha256}
    return [
        f"{name} has sha256 {_short(now.get(name))}, the recipe's is {_short(then.get(name))}"
        for name in dict.fromkeys([*then, *now])
        if now.get(name) != then.get(name)
    ]


def _short(sha256: str | None) -> str:
    return sha256[:12] if sha256 else "none"


def _difference(subject: Subject, recipe: Recipe, connection: duckdb.DuckDBPyConnection, table: Table) -> str:
    """What is different in a table, in as much detail as the published rows allow."""
    published = analysis_path(subject.path, recipe.kind, recipe.part)
    if not published.is_file():
        return f"{table.name}: the rows differ; {published.name} is not there to say where"
    with duckdb.connect(str(published), read_only=True) as old:
        if digests(old, [table])[table.name] != recipe.rows.get(table.name):
            return f"{table.name}: the rows differ, and those of {published.name} are not the recipe's either"
        return compare(table, _rows(old, table), _rows(connection, table))


def _rows(connection: duckdb.DuckDBPyConnection, table: Table) -> list[dict[str, Any]]:
    columns = ", ".join(f'"{name}"' for name in table.names)
    query = f"SELECT {columns} FROM {table.name} ORDER BY ALL"  # noqa: S608 - our own names
    return [dict(zip(table.names, row, strict=True)) for row in connection.execute(query).fetchall()]


def compare(table: Table, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    """Say how many rows differ, where the first does, and by how much numbers differ at most.

    The name of the part is no difference: it follows from the settings.
    """
    names = [name for name in table.names if name != _PART]
    places = [name for name in table.sorted_by if name != _PART]
    old, new = ({tuple(row[name] for name in places): row for row in some} for some in (before, now))
    missing, added = len(old.keys() - new.keys()), len(new.keys() - old.keys())
    cells = [
        (key, name, old[key][name], new[key][name])
        for key in old
        if key in new
        for name in names
        if not _same(old[key][name], new[key][name])
    ]
    said = [f"{missing} rows are gone"] * bool(missing) + [f"{added} are new"] * bool(added)
    if cells:
        key, name, was, is_now = cells[0]
        where = ", ".join(f"{place} {value}" for place, value in zip(places, key, strict=True))
        gaps = [
            abs(was - is_now) for _, _, was, is_now in cells if isinstance(was, float) and isinstance(is_now, float)
        ]
        largest = f"; numbers differ by at most {max(gaps):.3g}" if gaps else ""
        differing = len({key for key, *_ in cells})
        at = f" at {where}" if where else ""
        said.append(f"{differing} of {len(old)} rows differ, first {name}{at}: {was} was, {is_now} is{largest}")
    return f"{table.name}: {'; '.join(said) or 'only the name of the part differs'}"


def _same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or one == other
