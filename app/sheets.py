"""The tables of runs, layers and keys as sheets to export."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, Literal

import duckdb

from keyscope.app import queries
from keyscope.app.queries.keys import STATISTICS
from keyscope.app.queries.search import Search, found_statistics
from keyscope.app.queries.values import clean
from keyscope.app.runs import Run
from keyscope.app.table_files import Sheet
from keyscope.contract import bins
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import MOMENTS
from keyscope.contract.tables import Column

KeyTable = Literal["statistics", "languages", "histograms", "triggers", "samples", "fires_on", "value_tokens"]
_KEY = {"key": "VARCHAR", "layer": "INTEGER", "index": "INTEGER"}
_TOKEN = {"token": "VARCHAR", "token_hex": "VARCHAR", "token_id": "INTEGER"}
_PLACE = {
    "language": "VARCHAR",
    "rank": "INTEGER",
    "coefficient": "FLOAT",
    "source": "VARCHAR",
    "path": "VARCHAR",
    "file_sha256": "VARCHAR",
    "line": "INTEGER",
    "column": "INTEGER",
    "start": "INTEGER",
    "trigger_index": "INTEGER",
}
_EXAMPLE = {**_PLACE, **_TOKEN, "text": "VARCHAR", "token_ids": "INTEGER[]", "coefficients": "FLOAT[]"}


def layers_sheet(run: Run, cursor: duckdb.DuckDBPyConnection) -> Sheet:
    """Statistics of every layer, with one column per language."""
    numbers = [each.name for each in fields(queries.LayerSummary) if each.name != "languages"]
    whole = {"layer", "n_keys", "dead"}
    languages = run.manifest.languages
    columns = {name: "INTEGER" if name in whole else "DOUBLE" for name in numbers}
    columns |= {f"share_{language}": "DOUBLE" for language in languages}
    rows = [
        [getattr(layer, name) for name in numbers] + [layer.languages.get(language, 0.0) for language in languages]
        for layer in queries.layer_summaries(cursor)
    ]
    return Sheet(f"{run.run_id}-layers", columns, rows)


def keys_sheet(name: str, rows: Iterable[queries.KeyRow]) -> Sheet:
    """Keys with all statistics, the strongest trigger and the most promoted tokens."""
    columns = {
        **_KEY,
        **_types(STATISTICS),
        "trigger_token": "VARCHAR",
        "trigger_coefficient": "FLOAT",
        "trigger_language": "VARCHAR",
        "trigger_path": "VARCHAR",
        "trigger_line": "INTEGER",
        "trigger_code": "VARCHAR",
        "promoted": "VARCHAR[]",
    }
    return Sheet(name, columns, [_key_row(row) for row in rows])


def search_sheet(run: Run, cursor: duckdb.DuckDBPyConnection, wanted: Search) -> Sheet:
    """All keys that a search finds, with the values it measured and all statistics."""
    measures, rows = found_statistics(cursor, run.vocabulary, wanted)
    columns = {**_KEY, **dict.fromkeys(measures, "DOUBLE"), **_types(STATISTICS)}
    return Sheet(
        f"{run.run_id}-search", columns, ([str(run.manifest.model.key(*row[:2])), *map(clean, row)] for row in rows)
    )


def key_sheet(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId, table: KeyTable) -> Sheet:
    """One table of a key's page."""
    columns, rows = _KEY_TABLES[table](run, cursor, key)
    place = {"key": str(key), "layer": key.layer, "index": key.index}
    return Sheet(f"{run.run_id}-{key}-{table}", {**_KEY, **columns}, [[*place.values(), *row] for row in rows])


_Table = tuple[dict[str, str], Iterable[Sequence[Any]]]


def _statistics(_run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    statistics = queries.key_statistics(cursor, key)
    help_of = {column.name: column.help for column in STATISTICS}
    rows = [[name, None if value is None else str(value), help_of[name]] for name, value in statistics.items()]
    return {"statistic": "VARCHAR", "value": "VARCHAR", "help": "VARCHAR"}, rows


def _languages(_run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    rows = [[each.language, *each.statistics.values()] for each in queries.language_statistics(cursor, key)]
    return {"language": "VARCHAR", **_types(MOMENTS)}, rows


def _histograms(_run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    edges = bins.edges()
    rows = [
        [histogram.language, *map(_finite, edges[at : at + 2]), histogram.tokens[at], histogram.windows[at]]
        for histogram in queries.histograms(cursor, key)
        for at in range(bins.N_BINS)
    ]
    return {"language": "VARCHAR", "low": "DOUBLE", "high": "DOUBLE", "tokens": "BIGINT", "windows": "BIGINT"}, rows


def _triggers(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    found = queries.key_triggers(cursor, run.windows, key)
    columns = {"polarity": "VARCHAR", **_EXAMPLE, "files": "INTEGER", "places": "VARCHAR[]"}
    return columns, [
        [each.polarity, *_example(run, each), each.files, [str(place) for place in each.places]] for each in found
    ]


def _samples(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    found = queries.key_samples(cursor, run.windows, key)
    columns = {"band": "VARCHAR", "quantile": "FLOAT", **_EXAMPLE}
    return columns, [[each.band, each.quantile, *_example(run, each)] for each in found]


def _fires_on(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    found = queries.fires_on(cursor, run.vocabulary, key)
    return {**_TOKEN, "count": "INTEGER"}, [[*_token(each.token), each.count] for each in found]


def _value_tokens(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> _Table:
    rows = [
        [projection, direction, rank, *_token(each.token), each.logit]
        for projection, value in queries.value_tokens(cursor, run.vocabulary, key).items()
        for direction, side in (("promoted", value.promoted), ("suppressed", value.suppressed))
        for rank, each in enumerate(side, start=1)
    ]
    return {"projection": "VARCHAR", "direction": "VARCHAR", "rank": "INTEGER", **_TOKEN, "logit": "FLOAT"}, rows


_KEY_TABLES: dict[KeyTable, Callable[[Run, duckdb.DuckDBPyConnection, KeyId], _Table]] = {
    "statistics": _statistics,
    "languages": _languages,
    "histograms": _histograms,
    "triggers": _triggers,
    "samples": _samples,
    "fires_on": _fires_on,
    "value_tokens": _value_tokens,
}


def _types(columns: Iterable[Column]) -> dict[str, str]:
    return {column.name: column.type for column in columns}


def _finite(edge: float) -> float | None:
    return None if edge in (float("inf"), float("-inf")) else edge


def _token(token: queries.Token) -> tuple[str, str | None, int]:
    return token.text, token.hex, token.token_id


def _key_row(row: queries.KeyRow) -> list[Any]:
    top = row.top
    trigger = (
        [None] * 6
        if top is None
        else [top.token.text, top.coefficient, top.language, top.path, top.line, top.before + top.text + top.after]
    )
    promoted = [each.token.text for each in row.promoted]
    return [str(row.key), row.key.layer, row.key.index, *row.statistics.values(), *trigger, promoted]


def _example(run: Run, example: queries.Example) -> list[Any]:
    window = example.window
    return [
        example.language,
        example.rank,
        example.coefficient,
        window.file.source,
        window.file.path,
        window.file.sha256,
        example.line,
        example.column,
        window.start,
        example.trigger_index,
        *_token(run.vocabulary[window.token_ids[example.trigger_index]]),
        "".join(run.vocabulary.decode(window.token_ids)),
        list(window.token_ids),
        example.coefficients,
    ]
