"""Firing analyses for the small runs, with numbers from known formulas."""

from pathlib import Path

import duckdb

from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.analyses.firing import CENSUS, CLASSES, GROUPS, MEASURES, UNGROUPED
from keyscope.contract.runfile import open_run
from tests.made.agreement import analysis_manifest, insert

CONTROLLED = {
    "positional": "shifted",
    "positional_strong": "shifted",
    "suppressing": "dealt",
    "suppressing_detectors": "dealt",
    "language_id": "drawn",
    "best_f1": "drawn",
    **{f"folded_{name}": "gaussian" for name in CLASSES},
    "prediction": "gaussian",
    "suppression": "gaussian",
    "entropy": "gaussian",
}
WITHOUT_INTERVAL = ("drawn", "gaussian")
"""Measures whose controls are not drawn."""
BY_LANGUAGE = ("active", "language", "best_f1")
BUCKETS = 4
DETECTOR = "L0.K1"


def layer_number(measure: str, layer: int, control: str = "") -> float:
    """The number `write_firing` writes for a layer; a tenth of it by chance."""
    number = 0.1 + layer / 10 + sorted(MEASURES).index(measure) / 100
    return number / 10 if control else number


def group_number(measure: str, place: int, control: str = "") -> float:
    """The number it writes for all layers together, by the group's position."""
    return layer_number(measure, 2, control) + place / 100


def language_f1(index: int, language: int) -> float:
    """How well a key detects a language."""
    return (1 + index + language) / 20


def position_information(layer: int, index: int) -> float:
    """Information a key has about the position, in nats."""
    return (10 * layer + index) / 100


def write_firing(run: Path) -> Path:
    """Write a firing analysis for a run; `DETECTOR` detects its most common token."""
    with open_run(run) as connection:
        keys = connection.execute('SELECT layer, "index", top_token_id, dead FROM keys ORDER BY ALL').fetchall()
        languages = [
            name for (name,) in connection.execute("SELECT DISTINCT language FROM files ORDER BY 1").fetchall()
        ]
    with publish_analysis(run, "firing") as connection:
        for layer, index, token_id, dead in keys:
            _write_key(connection, layer, index, token_id, dead, languages)
        for bucket in range(BUCKETS):
            insert(connection, "firing_buckets", [bucket, 8 * bucket, 8 * bucket + 7, 100])
        _write_layers(connection, sorted({row[0] for row in keys}), languages)
        write_analysis_manifest(connection, analysis_manifest(run, "firing", strong_share=0.01, seed=0))
    return run


def _write_key(
    connection: duckdb.DuckDBPyConnection, layer: int, index: int, token_id: int, dead: bool, languages: list[str]
) -> None:
    detects = f"L{layer}.K{index}" == DETECTOR
    information = position_information(layer, index)
    row = [
        layer,
        index,
        1.5,
        0.0 if dead else 0.01,
        information,
        information / 2,
        "oscillatory" if information > 0.05 else None,
        None if dead else 0.5,
        0.001,
        0.004,
        languages[0] if index == 2 else None,
        language_f1(index, len(languages) - 1),
        languages[-1],
        None if dead else -0.25,
        int(detects),
        "strong" if detects else None,
        "prediction" if index == 3 else None,
        "suppression" if index == 3 else None,
    ]
    insert(connection, "firing_keys", row)
    for number, language in enumerate(languages):
        insert(connection, "firing_languages", [layer, index, language, 0.01, language_f1(index, number), 0.5, True])
    for level in ("fires", "strong"):
        insert(connection, "firing_positions", [layer, index, level, [0.1 * bucket for bucket in range(BUCKETS)]])
    if detects:
        insert(connection, "firing_detectors", [layer, index, "strong", token_id, 20, 19, 0.96])


def _write_layers(connection: duckdb.DuckDBPyConnection, layers: list[int], languages: list[str]) -> None:
    for measure in MEASURES:
        for part in ["", *(languages if measure in BY_LANGUAGE else [])]:
            for control in {"", CONTROLLED.get(measure, "")}:
                which = (measure, control, part)
                drawn = measure not in CENSUS and control not in WITHOUT_INTERVAL
                for layer in layers:
                    number = layer_number(measure, layer, control)
                    ends = (0.9 * number, 1.1 * number) if drawn else (None, None)
                    insert(connection, "firing_layers", [*which, layer, number, *ends, 6, 40, 12])
                for place, group in enumerate(() if measure in UNGROUPED else GROUPS):
                    number = group_number(measure, place, control)
                    ends = (0.95 * number, 1.05 * number) if drawn else (None, None)
                    insert(connection, "firing_groups", [*which, group, number, *ends, 12, 40, 12])
