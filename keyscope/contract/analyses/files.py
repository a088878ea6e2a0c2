"""The files of a run's analyses: `NAME.analysis/KIND.duckdb`, or `KIND.PART.duckdb` for kinds with several."""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from pydantic import ValidationError

from keyscope.contract.analyses.kinds import KINDS, SCHEMA_VERSION
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.manifest import Manifest
from keyscope.contract.reading import Columns, Unusable, attach, find_macros, read_document, time_limit
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
    found = [_attach(connection, f"{schema}_analysis{number}", *file) for number, file in enumerate(files)]
    with time_limit(connection):
        macros = find_macros(connection, [each.name for each in found]) if found else {}
    usable: dict[str, dict[str, Columns]] = {kind: {} for kind in KINDS}
    for each in found:
        document, problem = None, each.problem or macros.get(each.name)
        if problem is None:
            try:
                with time_limit(connection):
                    document = _usable(connection, each.name, each.kind, run)
            except Exception as error:
                problem = error
            else:
                usable[each.kind][each.name] = each.stored
        said = None if problem is None else f"{each.path.name} cannot be used: {first_line(problem)}"
        connection.execute(f"INSERT INTO {schema}.analyses VALUES (?, ?, ?, ?)", [each.kind, each.part, document, said])  # noqa: S608 - our own name
    for kind, tables in KINDS.items():
        for table in tables:
            connection.execute(_view(table, usable[kind], schema, run.model.stack))


def read_analyses(connection: duckdb.DuckDBPyConnection) -> list[AnalysisManifest]:
    """Manifests of all usable analyses of an open run, by kind and part."""
    query = "SELECT document FROM analyses WHERE document IS NOT NULL ORDER BY kind, part"
    return [AnalysisManifest.model_validate_json(document) for (document,) in connection.execute(query).fetchall()]


def read_problems(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Kind of each file that cannot be used, and why."""
    query = "SELECT kind, problem FROM analyses WHERE problem IS NOT NULL ORDER BY kind, part"
    return connection.execute(query).fetchall()


@dataclass(frozen=True, slots=True)
class _Attached:
    """An analysis file, attached by a name unless there is a problem."""

    kind: str
    part: str | None
    path: Path
    name: str
    stored: Columns
    problem: Exception | None = None


def _attach(connection: duckdb.DuckDBPyConnection, name: str, kind: str, part: str | None, path: Path) -> _Attached:
    try:
        with time_limit(connection):
            return _Attached(kind, part, path, name, attach(connection, path, name, (MANIFEST, *KINDS[kind])))
    except Exception as error:  # whatever is in a file, only the file is lost
        return _Attached(kind, part, path, name, {}, error)


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


def _view(table: Table, files: Mapping[str, Columns], schema: str, stack: str) -> str:
    selects = [table.select_from(file, stored, stack) for file, stored in files.items()]
    return f"CREATE VIEW {schema}.{table.name} AS {' UNION ALL '.join(selects or [table.select_from('', {}, stack)])}"
