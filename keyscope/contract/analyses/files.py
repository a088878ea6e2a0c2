"""The files of analyses beside a run: `NAME.analysis/KIND.duckdb`, or `KIND.PART.duckdb` where there are several."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb
from pydantic import ValidationError

from keyscope.contract.analyses.kinds import KINDS, SCHEMA_VERSION
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.manifest import Manifest
from keyscope.contract.tables import MANIFEST, SUFFIX, Column, Table, attach, first_line, publish, stored_columns

_NAME = re.compile(rf"([a-z]+)(?:\.([a-z0-9-]+))?{re.escape(SUFFIX)}")
ANALYSES = Table(
    "analyses",
    (
        Column("kind", "VARCHAR"),
        Column("part", "VARCHAR"),
        Column("document", "VARCHAR", "Its manifest; empty where the file cannot be used"),
        Column("problem", "VARCHAR", "Why the file cannot be used"),
    ),
    ("kind", "part"),
)
"""What was found beside a run; in memory only."""


def analysis_folder(run: Path) -> Path:
    """The folder of a run's analyses."""
    return run.with_suffix(".analysis")


def analysis_path(run: Path, kind: str, part: str | None = None) -> Path:
    """The file of one analysis."""
    return analysis_folder(run) / f"{kind if part is None else f'{kind}.{part}'}{SUFFIX}"


def analysis_files(run: Path) -> list[tuple[str, str | None, Path]]:
    """Kind, part and path of every analysis beside a run, in the order of their names."""
    found = []
    for path in sorted(analysis_folder(run).glob(f"*{SUFFIX}")):
        match = _NAME.fullmatch(path.name)
        if match and match[1] in KINDS:
            found.append((match[1], match[2], path))
    return found


def publish_analysis(
    run: Path, kind: str, part: str | None = None, replace: bool = False
) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Write the file of an analysis: its kind's tables on entry, published on a clean exit.

    Raises:
        FileExists: it is there, and it is not to be replaced.
    """
    return publish(analysis_path(run, kind, part), (MANIFEST, *KINDS[kind]), replace)


def write_analysis_manifest(connection: duckdb.DuckDBPyConnection, manifest: AnalysisManifest) -> None:
    """Write the manifest row; to be called once, before the file is published."""
    insert = "INSERT INTO manifest (schema_version, document) VALUES (?, ?)"
    connection.execute(insert, [SCHEMA_VERSION, manifest.model_dump_json()])


def attach_analyses(connection: duckdb.DuckDBPyConnection, run: Path) -> None:
    """Lay the tables of every kind of analysis over the files beside a run that belong to it.

    `connection` has the run attached as `run` and may still reach files. A file that cannot be used is named with the
    reason in the table `analyses`, and left alone.
    """
    connection.execute(ANALYSES.ddl())
    document = connection.execute("SELECT document FROM run.manifest").fetchone()
    manifest = Manifest.model_validate_json(document[0] if document else "")
    attached: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for number, (kind, part, path) in enumerate(analysis_files(run)):
        name = f"analysis{number}"
        try:
            attach(connection, path, name)
            text = _usable(connection, name, kind, manifest)
        except (duckdb.Error, ValueError) as error:
            problem = f"{path.name} cannot be used: {first_line(error)}"
            connection.execute("INSERT INTO analyses VALUES (?, ?, NULL, ?)", [kind, part, problem])
            continue
        connection.execute("INSERT INTO analyses VALUES (?, ?, ?, NULL)", [kind, part, text])
        attached[kind].append(name)
    for kind, tables in KINDS.items():
        for table in tables:
            connection.execute(_view(connection, table, attached[kind]))


def read_analyses(connection: duckdb.DuckDBPyConnection) -> list[AnalysisManifest]:
    """The manifests of all usable analyses of an open run, by kind and part."""
    query = "SELECT document FROM analyses WHERE document IS NOT NULL ORDER BY kind, part"
    return [AnalysisManifest.model_validate_json(document) for (document,) in connection.execute(query).fetchall()]


def read_problems(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """The kind of every file that cannot be used, and why."""
    query = "SELECT kind, problem FROM analyses WHERE problem IS NOT NULL ORDER BY kind, part"
    return connection.execute(query).fetchall()


def _usable(connection: duckdb.DuckDBPyConnection, name: str, kind: str, run: Manifest) -> str:
    """The manifest's text.

    Raises:
        ValueError: the analysis belongs to another run or was written by another version.
    """
    row = connection.execute(f"SELECT schema_version, document FROM {name}.manifest").fetchone()  # noqa: S608 - our own name
    if row is None:
        raise ValueError("it has no manifest")
    if row[0] != SCHEMA_VERSION:
        raise ValueError(
            f"it has schema version {row[0]}, this Keyscope reads version {SCHEMA_VERSION}: compute it again"
        )
    try:
        manifest = AnalysisManifest.model_validate_json(row[1])
    except ValidationError as error:
        raise ValueError(f"{error.error_count()} fields of its manifest are wrong") from error
    if manifest.kind != kind:
        raise ValueError(f"it holds an analysis of the kind {manifest.kind}")
    if (manifest.weights_sha256, manifest.corpus_sha256) != (run.model.weights_sha256, run.corpus.sha256):
        raise ValueError(f"it belongs to another run, {manifest.run_id}")
    return str(row[1])


def _view(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[str]) -> str:
    if not files:
        return table.ddl()
    selects = (table.select_from(name, stored_columns(connection, name)) for name in files)
    return f"CREATE VIEW {table.name} AS {' UNION ALL '.join(selects)}"
