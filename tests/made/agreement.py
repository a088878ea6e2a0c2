"""Layer agreement analyses for the small runs, with estimates from known formulas."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from keyscope.contract.analyses.agreement import CONTEXT_MEASURES, KEY_MEASURES, LAYER_MEASURES
from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.analyses.kinds import KINDS, SCHEMA_VERSION
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.runfile import open_run, read_manifest

PARTS = {
    "all": ["all"],
    "language": ["python", "java", "go"],
    "role": ["keyword", "operator", "identifier_defined", "identifier_used", "string", "whitespace", "end_of_file"],
    "continuation": ["begins", "goes_on"],
    "position": ["0-3", "4-15", "16-63", "64-255", "256-"],
}
SIZES = (2, 4, 8)


def analysis_manifest(run: Path, kind: str, **settings: object) -> AnalysisManifest:
    """The manifest of an analysis of a run, also for the other kinds."""
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return AnalysisManifest(
        schema_version=SCHEMA_VERSION,
        kind=kind,
        run_id=run.stem,
        weights_sha256=manifest.model.weights_sha256,
        corpus_sha256=manifest.corpus.sha256,
        settings=settings,
        files=4,
        tokens=400,
        seconds=6.0,
        forward_seconds=2.0,
        device="cpu",
        started=moment,
        finished=moment,
        code_version="0.1.0",
        versions={},
    )


def estimate(number: float) -> tuple[float, float, float, int, int, int]:
    """An estimate, its interval, n, files and projects."""
    return number, 0.9 * number, min(1.1 * number, max(number, 1.0)), 400, 4, 12


def insert(connection: duckdb.DuckDBPyConnection, table: str, row: Sequence[Any]) -> None:
    """Insert a row that has the first columns of a table of any kind of analysis."""
    names = next(each.names for tables in KINDS.values() for each in tables if each.name == table)[: len(row)]
    columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row))


def agreement_of(layer: int, layers: int, measure: str, control: str = "") -> float:
    """The estimate `write_agreement` writes: rising to 1 with depth for the residual, a tenth of that for controls."""
    whole = (layer + 1) / layers
    part = whole if measure == "residual" else whole / (2 + sorted(LAYER_MEASURES).index(measure))
    return part / 10 if control else part


def write_agreement(run: Path, layers: int) -> Path:
    """Write a layer agreement analysis for a run."""
    manifest = analysis_manifest(run, "agreement", tokens=400)
    with publish_analysis(run, "agreement") as connection:
        for measure in LAYER_MEASURES:
            for control in ("", "other_position", "permuted_values"):
                rows = [
                    (measure, control, "all", "all", layer, *estimate(agreement_of(layer, layers, measure, control)))
                    for layer in range(layers)
                ]
                _insert(connection, "agreement", rows)
        for split, parts in PARTS.items():
            for number, part in enumerate(parts):
                depth = ("depth", "", split, part, None, *estimate(0.1 + number / 10))
                rates = [
                    ("residual", "", split, part, layer, *estimate((layer + 1) / layers)) for layer in range(layers)
                ]
                _insert(connection, "agreement", [depth, *(rates if split != "all" else [])])
        for size in SIZES:
            for measure in CONTEXT_MEASURES:
                by_layer: Sequence[int | None] = range(layers) if measure.startswith("residual") else [None]
                rows = [(size, measure, layer, *estimate(size / 10)) for layer in by_layer]
                _insert(connection, "agreement_contexts", rows)
        for measure in KEY_MEASURES:
            for control in ("", "permuted_values"):
                places = [*((layer, None) for layer in range(layers)), *((None, tenth) for tenth in range(1, 11))]
                rows = [(measure, control, "normed", *place, *estimate(0.05)) for place in places]
                _insert(connection, "agreement_keys", rows)
        for lens, raised in (("logit", 1.0), ("ridge", 0.5)):
            for layer in range(layers):
                agrees, kl = ((layer + 1) / layers) ** raised, (layers - 1 - layer) * raised
                for measure, value in (("agreement", agrees), ("kl", kl)):
                    _insert(
                        connection, "agreement_lenses", [(lens, "", measure, "all", "all", layer, *estimate(value))]
                    )
            for split, names in (PARTS | {"context": [str(size) for size in SIZES]}).items():
                depths = [
                    (lens, "", "depth", split, part, None, *estimate(raised * (0.1 + number / 10)))
                    for number, part in enumerate(names)
                ]
                _insert(connection, "agreement_lenses", depths)
        write_analysis_manifest(connection, manifest)
    return run


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        insert(connection, table, row)
