"""One open run: its manifest, its layers and keys as relations, and SQL over all of its tables."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from keyscope.contract import runfile
from keyscope.contract.analyses.files import read_analyses, read_problems
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId
from keyscope.contract.tables import SUFFIX
from keyscope.notebook.key import Key
from keyscope.notebook.remote import download, is_remote
from keyscope.notebook.texts import TEXT_OF, load_texts, relation_of

_LAYERS = """
    SELECT layer, count(*) AS keys, count(*) FILTER (dead) AS dead, avg(firing_rate) AS mean_firing_rate,
        median(nullif(kurtosis, 'NaN'::FLOAT)) AS median_kurtosis, max(maximum) AS maximum,
        avg(norm_value) AS mean_norm_value
    FROM keys GROUP BY layer ORDER BY layer"""
_KEYS = f"""
    SELECT k.stack || layer || '.K' || "index" AS key, k.*,
        list_transform(s.promoted, lambda id: {TEXT_OF.format("id")}) AS promoted
    FROM keys k LEFT JOIN key_summaries s USING (layer, "index")
    ORDER BY layer, "index" """  # noqa: S608 - constants


class UnknownColumn(KeyscopeError, ValueError, status=422):
    """Keys are to be sorted by something that is not a column."""


class UnknownKey(KeyscopeError, LookupError, status=404):
    """The model of the run has no such key."""


class NoAnalysis(KeyscopeError, LookupError, status=404):
    """There is no such kind of analysis, or it has not been computed for the run."""


def open_run(place: str | Path) -> "Run":
    """Open a run for reading; `keyscope.open_run` describes it."""
    path = download(str(place)) if is_remote(str(place)) else Path(place)
    if not path.is_file():
        raise FileNotFoundError(f"there is no run file {place}")
    return Run(path)


class Run:
    """One run with its analyses. Close it, or use it in a `with` block, to release the files.

    Tables are DuckDB relations: `.df()` makes a pandas data frame of one, `.pl()` polars, `.arrow()` Arrow, while
    `.filter`, `.order`, `.limit` and `.aggregate` refine it. They are readable until the run is closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name.removesuffix(SUFFIX)
        self._connection = runfile.open_run(path)
        try:
            self.manifest = runfile.read_manifest(self._connection).model_copy(update={"run_id": self.run_id})
            load_texts(self._connection)
        except BaseException:
            self.close()
            raise

    def layers(self) -> DuckDBPyRelation:
        """Every layer: how many keys it has, how many are dead, how often and how strongly they fire."""
        return self._connection.sql(_LAYERS)

    def keys(self, layer: int | None = None, sort: str | None = None, where: str | None = None) -> DuckDBPyRelation:
        """Keys with all their statistics and the tokens that their values promote most.

        `layer` keeps one layer; `where` keeps rows for which a SQL condition over the columns holds, such as
        `"firing_rate < 0.01 AND NOT dead"`. `sort` is a column, with a minus in front for the largest first
        (`"-kurtosis"`); missing numbers come last.

        Raises:
            UnknownColumn: `sort` is not a column.
        """
        found = self._connection.sql(_KEYS)
        if layer is not None:
            found = found.filter(f"layer = {int(layer)}")
        if where is not None:
            found = found.filter(where)
        return found if sort is None else found.order(_order(sort, found))

    def key(self, name: str | KeyId) -> Key:
        """One key by its name, such as `L5.K312`.

        Raises:
            InvalidKey: the name is not that of a key.
            UnknownKey: the model has no such key.
        """
        key = name if isinstance(name, KeyId) else KeyId.parse(name)
        sizes = self.manifest.model.keys_per_layer
        if key.stack != self.manifest.model.stack:
            raise UnknownKey(
                f"{self.run_id} has no key {key}: the names of its keys begin with {self.manifest.model.stack}"
            )
        if key.layer >= len(sizes):
            raise UnknownKey(f"{self.run_id} has no key {key}: its layers are 0 to {len(sizes) - 1}")
        if key.index >= sizes[key.layer]:
            raise UnknownKey(
                f"{self.run_id} has no key {key}: the keys of layer {key.layer} end at {sizes[key.layer] - 1}"
            )
        return Key(self._connection, key)

    def analysis(self, kind: str) -> "Analysis":
        """One kind of analysis, such as `syntax`, with its tables.

        Raises:
            NoAnalysis: there is no such kind, or it has not been computed for this run.
        """
        if kind not in KINDS:
            raise NoAnalysis(f"there is no analysis {kind!r}: choose one of {', '.join(KINDS)}")
        manifests = [each for each in read_analyses(self._connection) if each.kind == kind]
        if not manifests:
            problems = [problem for each, problem in read_problems(self._connection) if each == kind]
            reason = "; ".join(problems) or f"compute it with `keyscope analyse {self.path} {kind}`"
            raise NoAnalysis(f"{self.run_id} has no analysis {kind!r}: {reason}")
        return Analysis(self._connection, kind, manifests)

    def sql(self, query: str, parameters: Sequence[object] = ()) -> DuckDBPyRelation:
        """The result of a SELECT over the tables of the run and its analyses; each `?` takes a parameter.

        `token_texts` has the text of every token; `tables()` lists the others.
        """
        return self._connection.sql(query, params=list(parameters))

    def tables(self) -> DuckDBPyRelation:
        """Every table and column of runs and analyses: its type and what it means."""
        derived = [table for table, _ in runfile.DERIVED]
        tables = [*runfile.TABLES, *derived, *(table for kind in KINDS.values() for table in kind)]
        cells = [(table.name, column.name, column.type, column.help) for table in tables for column in table.viewed]
        names = {"table": "VARCHAR", "column": "VARCHAR", "type": "VARCHAR", "meaning": "VARCHAR"}
        return relation_of(self._connection, names, cells)

    def close(self) -> None:
        """Release the files."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        model = self.manifest.model
        languages = ", ".join(each.language for each in self.manifest.corpus.languages)
        return f"<Run {self.run_id}: {model.model_id}, {model.n_layers} layers, {languages}>"


class Analysis:
    """The tables of one kind of analysis, by name: `analysis["syntax_keys"]`, or all of `analysis.tables`."""

    def __init__(self, connection: DuckDBPyConnection, kind: str, manifests: list[AnalysisManifest]) -> None:
        self._connection = connection
        self.kind = kind
        self.manifests = manifests
        """One per file: how it was computed."""

    @property
    def tables(self) -> list[str]:
        """The names of its tables."""
        return [table.name for table in KINDS[self.kind]]

    def __getitem__(self, table: str) -> DuckDBPyRelation:
        if table not in self.tables:
            raise NoAnalysis(f"the analysis {self.kind!r} has no table {table!r}: it has {', '.join(self.tables)}")
        return self._connection.table(table)

    def __repr__(self) -> str:
        return f"<Analysis {self.kind}: {', '.join(self.tables)}>"


def _order(sort: str, found: DuckDBPyRelation) -> str:
    name = sort.removeprefix("-")
    if name not in found.columns:
        raise UnknownColumn(f"keys cannot be sorted by {name!r}: the columns are {', '.join(found.columns)}")
    # DuckDB takes NaN for larger than every number; here it means missing.
    is_float = found.types[found.columns.index(name)] == "FLOAT"
    value = f"nullif(\"{name}\", 'NaN'::FLOAT)" if is_float else f'"{name}"'
    return f'{value} {"DESC" if sort.startswith("-") else "ASC"} NULLS LAST, layer, "index"'
