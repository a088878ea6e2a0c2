"""Syntax analyses for the small runs, with numbers from known formulas."""

from pathlib import Path

import duckdb

from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.analyses.syntax import ASPECTS, KEY_MEASURES, LAYER_MEASURES, ROLES
from keyscope.contract.runfile import open_run
from tests.made.agreement import analysis_manifest, insert

VALUES = {
    "role": ROLES,
    "node": ("identifier in call", "string_content in string", "argument_list in call"),
    "statement": ("none", "return_statement"),
    "expression": ("none", "call"),
    "declaration": ("none",),
    "scope": ("module", "function"),
}
SHARE_BASE = 0.125
NO_CONTROL = ("drop_first", "drop_random")
TOP_SHARE = 0.75
KEY_Q, KEY_DISTINCT_Q = 1e-6, 0.01


def layer_mean(measure: str, layer: int) -> float:
    """The mean `write_syntax` writes: rising with depth, negative for changes."""
    size = 0.2 + 0.3 * layer + sorted(LAYER_MEASURES).index(measure) / 100
    return -size if measure.startswith("drop") else size


def key_score(index: int) -> float:
    """The score of each key of a layer."""
    return 0.1 + index / 10


def write_syntax(run: Path) -> Path:
    """Write a syntax analysis for a run."""
    with open_run(run) as connection:
        keys = connection.execute('SELECT layer, "index", top_token_id FROM keys ORDER BY ALL').fetchall()
    manifest = analysis_manifest(run, "syntax", mutated=10)
    layers = sorted({layer for layer, _, _ in keys})
    with publish_analysis(run, "syntax") as connection:
        for layer, index, token in keys:
            _write_key(connection, layer, index, token)
        for measure in LAYER_MEASURES:
            for layer in layers:
                _write_layer(connection, measure, layer)
            insert(connection, "syntax_trends", [measure, len(keys), *_estimate(measure, 0.3)])
        for aspect, values in VALUES.items():
            for value in values:
                for layer in layers:
                    share = SHARE_BASE * (layer + 1)
                    row = [aspect, value, layer, 12, share, 0.9 * share, 1.1 * share, SHARE_BASE, 0.1, 0.15]
                    insert(connection, "syntax_layer_values", [*row, SHARE_BASE, share / SHARE_BASE, 3, 1])
                insert(connection, "syntax_base", [aspect, value, "python", 100, SHARE_BASE, 0.1, 0.15])
        write_analysis_manifest(connection, manifest)
    return run


def _write_key(connection: duckdb.DuckDBPyConnection, layer: int, index: int, token: int | None) -> None:
    numbers = {column.name: 0.5 if column.type == "FLOAT" else 9 for column in KEY_MEASURES}
    numbers |= {"score": key_score(index), "token_id": token, "drop_last": -0.8, "drop_first": -0.01}
    insert(connection, "syntax_keys", [layer, index, *numbers.values()])
    for aspect in ASPECTS:
        values = VALUES[aspect]
        for rank, value in enumerate((values[index % len(values)], values[0])[: len(values)], start=1):
            share = TOP_SHARE if rank == 1 else 1 - TOP_SHARE
            q = (KEY_Q, KEY_DISTINCT_Q) if rank == 1 else (None, None)
            row = [layer, index, aspect, rank, value, int(8 * share), share, SHARE_BASE, share / SHARE_BASE, 0.6]
            insert(connection, "syntax_profiles", [*row, *q])


def _write_layer(connection: duckdb.DuckDBPyConnection, measure: str, layer: int) -> None:
    mean = layer_mean(measure, layer)
    spread = [0.5 * mean, mean, 1.5 * mean]
    if not measure.startswith(("score", "token", "bigram", "trigram", "entropy", "drop")):
        spread = [None, None, None]
    insert(connection, "syntax_layers", [measure, layer, 6, *_estimate(measure, mean), *spread])


def _estimate(measure: str, value: float) -> list[float | None]:
    """An estimate, its interval and its control."""
    control = [None] * 3 if measure in NO_CONTROL else [0.5 * value, 0.45 * value, 0.55 * value]
    return [value, *sorted((0.9 * value, 1.1 * value)), *control]
