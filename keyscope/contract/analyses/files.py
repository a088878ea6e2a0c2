"""The files of a run's analyses: `NAME.analysis/KIND.duckdb`, or `KIND.PART.duckdb` for kinds with several."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb
from pydantic import ValidationError

from keyscope.contract.analyses.kinds import KINDS, SCHEMA_VERSION
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.manifest import Manifest
from keyscope.contract.reading import Unusable, attach, read_document, stored_columns, time_limit
from keyscope.contract.tables import MANIFEST, SUFFIX, Column, Table, publish
from keyscope.contract.texts import first_line
from keyscope.contract.validation import sentence

FOLDER = ".analysis"
"""What a run's folder of analyses ends with."""
_NAME = re.compile(rf"([a-z]+)(?:\.([a-z0-9-]+))?{re.escape(SUFFIX)}")
ANALYSES = Table(
    "analyses",
    (
        Column("kind", "VARCHAR"),
        Column("part", "VARCHAR"),
        Column("document", "VARCHAR", "Its manifest; empty if the file cannot be used"),
        Column("problem", "VARCHAR", "Why the file cannot be used"),
    ),
    ("kind", "part"),
)
"""The analyses found beside a run; in memory only."""


def analysis_folder(run: Path) -> Path:
    """Folder of a run's analyses."""
    return run.with_suffix(FOLDER)


def analysis_path(run: Path, kind: str, part: str | None = None) -> Path:
    """File of one analysis."""
    return analysis_folder(run) / f"{kind if part is None else f'{kind}.{part}'}{SUFFIX}"


def analysis_files(run: Path) -> list[tuple[str, str | None, Path]]:
    """Kind, part and path of every analysis beside a run, sorted by name."""
    found = []
    for path in sorted(analysis_folder(run).glob(f"*{SUFFIX}")):
        match = _NAME.fullmatch(path.name)
        if match and match[1] in KINDS and path.is_file():
            found.append((match[1], match[2], path))
    return found


def publish_analysis(
    run: Path, kind: str, part: str | None = None, replace: bool = False
) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Create the file of an analysis: empty tables of its kind on entry, published on a clean exit.

    Raises:
        FileExists: the file exists and `replace` is false.
    """
    return publish(analysis_path(run, kind, part), (MANIFEST, *KINDS[kind]), replace)


def write_analysis_manifest(connection: duckdb.DuckDBPyConnection, manifest: AnalysisManifest) -> None:
    """Write the manifest row; call it once, before the file is published."""
    insert = "INSERT INTO manifest (schema_version, document) VALUES (?, ?)"
    connection.execute(insert, [SCHEMA_VERSION, manifest.model_dump_json()])


def attach_analyses(
    connection: duckdb.DuckDBPyConnection,
    run: Manifest,
    files: Sequence[tuple[str, str | None, Path]],
    schema: str = "main",
) -> None:
    """Lay the tables of every kind, in a schema, over the analysis files that belong to a run.

    `connection` may reach `files`, which are what `analysis_files` found. A file that cannot be used is listed with the
    reason in the table `analyses` and left alone.
    """
    connection.execute(ANALYSES.ddl(schema))
    attached: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for number, (kind, part, path) in enumerate(files):
        name = f"{schema}_analysis{number}"
        document = problem = None
        try:
            with time_limit(connection):
                attach(connection, path, name, (MANIFEST, *KINDS[kind]))
                document = _usable(connection, name, kind, run)
        except Exception as error:  # whatever is in a file, only the file is lost
            problem = f"{path.name} cannot be used: {first_line(error)}"
        else:
            attached[kind].append(name)
        connection.execute(f"INSERT INTO {schema}.analyses VALUES (?, ?, ?, ?)", [kind, part, document, problem])  # noqa: S608 - our own name
    for kind, tables in KINDS.items():
        for table in tables:
            connection.execute(_view(connection, table, attached[kind], schema, run.model.stack))


def read_analyses(connection: duckdb.DuckDBPyConnection) -> list[AnalysisManifest]:
    """Manifests of all usable analyses of an open run, by kind and part."""
    query = "SELECT document FROM analyses WHERE document IS NOT NULL ORDER BY kind, part"
    return [AnalysisManifest.model_validate_json(document) for (document,) in connection.execute(query).fetchall()]


def read_problems(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Kind of each file that cannot be used, and why."""
    query = "SELECT kind, problem FROM analyses WHERE problem IS NOT NULL ORDER BY kind, part"
    return connection.execute(query).fetchall()


def _usable(connection: duckdb.DuckDBPyConnection, name: str, kind: str, run: Manifest) -> str:
    """Return the manifest's JSON.

    Raises:
        Unusable: the analysis has another kind, run or schema version.
    """
    version, document = read_document(connection, name)
    if version != SCHEMA_VERSION:
        raise Unusable(
            f"it has schema version {version}, this Keyscope reads version {SCHEMA_VERSION}: compute it again"
        )
    try:
        manifest = AnalysisManifest.model_validate_json(document)
    except ValidationError as error:
        raise Unusable(f"its manifest is not valid: {sentence(error.errors())}") from error
    if manifest.kind != kind:
        raise Unusable(f"it is an analysis of kind {manifest.kind}")
    if (manifest.weights_sha256, manifest.corpus_sha256) != (run.model.weights_sha256, run.corpus.sha256):
        raise Unusable(f"it belongs to another run, {manifest.run_id}")
    return document


def _view(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[str], schema: str, stack: str) -> str:
    name = f"{schema}.{table.name}"
    if not files:
        return f"CREATE VIEW {name} AS {table.select_from('', {}, stack)}"
    selects = (table.select_from(file, stored_columns(connection, file), stack) for file in files)
    return f"CREATE VIEW {name} AS {' UNION ALL '.join(selects)}"
