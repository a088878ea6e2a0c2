"""From what was found of every layer to the rows of the tables."""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from keyscope.contract.analyses.syntax import (
    ASPECTS,
    FAMILIES,
    KEY_MEASURES,
    SYNTAX_BASE,
    SYNTAX_KEYS,
    SYNTAX_LAYER_VALUES,
    SYNTAX_LAYERS,
    SYNTAX_PROFILES,
    SYNTAX_TRENDS,
)
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.bootstrap import LEVEL, ratio_interval
from keyscope.worker.analysis.concepts.chance import benjamini_hochberg
from keyscope.worker.analysis.draws import spread_about
from keyscope.worker.analysis.syntax.base import counts_by_file
from keyscope.worker.analysis.syntax.layer import Corpus
from keyscope.worker.analysis.syntax.measures import MEASURES
from keyscope.worker.rows import Columns, insert

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_SHARES_OF_KEYS = frozenset(FAMILIES)
_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
SIGNIFICANT = 0.05
WORTH_A_ROW = 0.002
"""Share of the corpus, or of all keys, from which a value that is no role has rows by layer."""
_NO_CONTROL = frozenset({"drop_first", "drop_random"})
"""Measures that are controls themselves."""


def write_keys(connection: duckdb.DuckDBPyConnection, layers: Sequence[Arrays]) -> None:
    """What was measured of every key."""
    for layer, found in enumerate(layers):
        columns: Columns = {column.name: found[f"key_{column.name}"] for column in KEY_MEASURES}
        keys = len(found["key_score"])
        no_token = found["key_token_id"] < 0
        columns["token_id"] = pa.array(found["key_token_id"], mask=no_token)
        insert(connection, SYNTAX_KEYS, {"layer": np.full(keys, layer), "index": np.arange(keys), **columns})


def write_profiles(
    connection: duckdb.DuckDBPyConnection, layers: Sequence[Arrays], names: Mapping[str, Sequence[str]]
) -> dict[str, list[FloatArray]]:
    """The profiles of all keys, p-values corrected over them; gives distinct_q of every row, by aspect and layer."""
    corrected = {aspect: _corrected(layers, f"{aspect}_log_p") for aspect in ASPECTS}
    once = {aspect: _corrected(layers, f"{aspect}_log_distinct_p") for aspect in ASPECTS}
    for layer, found in enumerate(layers):
        parts: list[Columns] = []
        for aspect in ASPECTS:
            rows = {name: found[f"{aspect}_{name}"] for name in ("rank", "triggers", "share", "base", "sample_share")}
            with np.errstate(divide="ignore"):
                lift = np.where(rows["base"] > 0, rows["share"] / rows["base"], np.nan)
            n = len(rows["rank"])
            parts.append(
                {
                    "layer": np.full(n, layer),
                    "index": found[f"{aspect}_key"],
                    "aspect": _repeated(aspect, n),
                    "value": _named(names[aspect], found[f"{aspect}_value"]),
                    "lift": lift,
                    "q": corrected[aspect][layer],
                    "distinct_q": once[aspect][layer],
                    **rows,
                }
            )
        insert(connection, SYNTAX_PROFILES, *parts, order=SYNTAX_PROFILES.sorted_by)
    return once


def write_layers(connection: duckdb.DuckDBPyConnection, layers: Sequence[Arrays]) -> None:
    """Every measure by layer, and its trend from the lower half of the layers to the upper."""
    parts: list[Columns] = []
    for layer, found in enumerate(layers):
        quartiles = np.where([name in _SHARES_OF_KEYS for name in MEASURES], np.nan, found["quartiles"])
        parts.append(
            {
                "measure": pa.array(MEASURES),
                "layer": np.full(len(MEASURES), layer),
                "keys": found["keys"],
                "mean": found["mean"],
                **_ends(found["mean"], found["draws"], found["control"]),
                **dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True)),
            }
        )
    insert(connection, SYNTAX_LAYERS, *parts, order=SYNTAX_LAYERS.sorted_by)
    if len(layers) > 1:
        mean, draws, control = (_trend([found[name] for found in layers]) for name in ("mean", "draws", "control"))
        trends: Columns = {
            "measure": pa.array(MEASURES),
            "keys": np.sum([found["keys"] for found in layers], axis=0),
            "difference": mean,
            **_ends(mean, draws, control),
        }
        insert(connection, SYNTAX_TRENDS, trends, order=SYNTAX_TRENDS.sorted_by)


def write_layer_values(
    connection: duckdb.DuckDBPyConnection,
    layers: Sequence[Arrays],
    corpus: Corpus,
    once: Mapping[str, list[FloatArray]],
) -> None:
    """How common each value is among the triggers of each layer."""
    for aspect in ASPECTS:
        chosen = _worth_rows(aspect, layers, corpus)
        for layer, found in enumerate(layers):
            if len(chosen) and found["file_triggers"].any():
                columns = _layer_values(aspect, chosen, found, once[aspect][layer])
                value = _named(corpus.places.names[aspect], chosen)
                place: Columns = {"aspect": _repeated(aspect, len(chosen)), "value": value}
                insert(connection, SYNTAX_LAYER_VALUES, {**place, "layer": np.full(len(chosen), layer), **columns})


def write_base(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """How common each value is in the corpus, by language; values that a language does not have are left out."""
    store = corpus.store
    parts: list[Columns] = []
    for aspect in ASPECTS:
        for number, language in enumerate(store.language_names):
            files = np.flatnonzero(store.languages == number)
            counts = counts_by_file(store, corpus.places, files, aspect)
            there = np.flatnonzero(counts.sum(axis=0))
            share = ratio_interval(counts[:, there], counts.sum(axis=1))
            parts.append(
                {
                    "aspect": _repeated(aspect, len(there)),
                    "value": _named(corpus.places.names[aspect], there),
                    "language": _repeated(language, len(there)),
                    "tokens": counts.sum(axis=0)[there],
                    "share": share.estimate,
                    "low": share.low,
                    "high": share.high,
                }
            )
    insert(connection, SYNTAX_BASE, *parts, order=SYNTAX_BASE.sorted_by)


def _layer_values(aspect: str, chosen: IntArray, found: Arrays, distinct_q: FloatArray) -> Columns:
    place = np.full(int(chosen.max()) + 1, -1)
    place[chosen] = np.arange(len(chosen))
    of_value = found[f"{aspect}_of_value"]
    kept = (of_value < len(place)) & (place[np.minimum(of_value, len(place) - 1)] >= 0)
    by_file = np.zeros((len(found["file_triggers"]), len(chosen)))
    by_file[found[f"{aspect}_of_file"][kept], place[of_value[kept]]] = found[f"{aspect}_counts"][kept]
    share = ratio_interval(by_file, found["file_triggers"])
    control = found[f"{aspect}_control"][:, chosen]
    base = found[f"{aspect}_expected"][chosen]
    top = found[f"{aspect}_rank"] == 1
    tops = found[f"{aspect}_value"][top]
    size = int(max(chosen.max(), tops.max(initial=0))) + 1
    low, high = np.quantile(control, _ENDS, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = np.where(base > 0, share.estimate / base, np.nan)
    return {
        "triggers": by_file.sum(axis=0).astype(np.int64),
        "share": share.estimate,
        "low": share.low,
        "high": share.high,
        "control": control.mean(axis=0),
        "control_low": low,
        "control_high": high,
        "base": base,
        "lift": lift,
        "keys": np.bincount(tops, minlength=size)[chosen],
        "significant": np.bincount(tops[distinct_q[top] <= SIGNIFICANT], minlength=size)[chosen],
    }


def _worth_rows(aspect: str, layers: Sequence[Arrays], corpus: Corpus) -> IntArray:
    """Values that have rows by layer: all roles, and of other aspects what is common somewhere."""
    size = len(corpus.places.names[aspect])
    if aspect == "role":
        return np.arange(size)
    keys = sum(np.bincount(found[f"{aspect}_value"][found[f"{aspect}_rank"] == 1], minlength=size) for found in layers)
    common = (corpus.base[aspect] >= WORTH_A_ROW).any(axis=0)
    return np.flatnonzero(common | (keys >= WORTH_A_ROW * max(int(np.sum(keys)), 1)))


def _ends(mean: FloatArray, draws: FloatArray, control: FloatArray) -> Columns:
    """Interval and control of estimates [measures], from draws of each [draws, measures].

    Drawing files again makes triggers look more alike than they are, so it is the spread of the draws that counts.
    """
    found = spread_about(mean, draws)
    without = np.array([name in _NO_CONTROL for name in MEASURES])
    chance = np.where(without, np.nan, np.stack([control.mean(axis=0), *np.quantile(control, _ENDS, axis=0)]))
    return {
        "low": found.low,
        "high": found.high,
        **dict(zip(("control", "control_low", "control_high"), chance, strict=True)),
    }


def _trend(values: Sequence[FloatArray]) -> FloatArray:
    """Mean of the upper half of the layers less that of the lower; the middle one of an odd number is in neither."""
    half = len(values) // 2
    return np.asarray(np.mean(values[-half:], axis=0) - np.mean(values[:half], axis=0))


def _corrected(layers: Sequence[Arrays], name: str) -> list[FloatArray]:
    """q of every row, over all keys of all layers; NaN where there is no p."""
    log_p = np.concatenate([found[name] for found in layers])
    q = np.full(len(log_p), np.nan)
    there = ~np.isnan(log_p)
    if there.any():
        q[there] = np.exp(benjamini_hochberg(log_p[there]))
    return np.split(q, np.cumsum([len(found[name]) for found in layers])[:-1])


def _named(names: Sequence[str], values: IntArray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), pa.array(names, pa.string()))


def _repeated(text: str, n: int) -> pa.Array:
    return _named([text], np.zeros(n, dtype=np.int64))
