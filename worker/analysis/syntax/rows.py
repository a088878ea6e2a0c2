"""From the findings of every layer to the rows of the tables."""

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
from keyscope.worker.analysis.concepts.chance import benjamini_hochberg
from keyscope.worker.analysis.draws import spread_about, widening
from keyscope.worker.analysis.intervals import LEVEL, share_interval
from keyscope.worker.analysis.syntax.base import counts_by_file
from keyscope.worker.analysis.syntax.found import LayerFound, ValueCounts
from keyscope.worker.analysis.syntax.layer import Corpus
from keyscope.worker.analysis.syntax.measures import MEASURES
from keyscope.worker.analysis.syntax.profiles import Profiles
from keyscope.worker.analysis.units import Units
from keyscope.worker.rows import Columns, insert

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_SHARES_OF_KEYS = frozenset(FAMILIES)
_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
SIGNIFICANT = 0.05
WORTH_A_ROW = 0.002
"""Share of the corpus, or of all keys, from which a value of an aspect other than role gets rows by layer."""
_NO_CONTROL = frozenset({"drop_first", "drop_random"})
"""Measures that serve as controls themselves."""


def write_keys(connection: duckdb.DuckDBPyConnection, layers: Sequence[LayerFound]) -> None:
    """Write the measures of every key."""
    for layer, found in enumerate(layers):
        keys, token_id = len(found.keys.score), found.keys.token_id
        columns: Columns = {column.name: getattr(found.keys, column.name) for column in KEY_MEASURES}
        columns["token_id"] = pa.array(token_id, mask=token_id < 0)
        insert(connection, SYNTAX_KEYS, {"layer": np.full(keys, layer), "index": np.arange(keys), **columns})


def write_profiles(
    connection: duckdb.DuckDBPyConnection, layers: Sequence[LayerFound], names: Mapping[str, Sequence[str]]
) -> dict[str, list[FloatArray]]:
    """Write the profiles of all keys, p-values corrected over all layers.

    Returns:
        `distinct_q` of every row, by aspect and layer.
    """
    of_layers = {aspect: [found.profiles[aspect] for found in layers] for aspect in ASPECTS}
    corrected = {aspect: _corrected([each.log_p for each in found]) for aspect, found in of_layers.items()}
    once = {aspect: _corrected([each.log_distinct_p for each in found]) for aspect, found in of_layers.items()}
    for layer, found in enumerate(layers):
        parts: list[Columns] = []
        for aspect in ASPECTS:
            rows = found.profiles[aspect]
            n = len(rows.rank)
            parts.append(
                {
                    "layer": np.full(n, layer),
                    "index": rows.key,
                    "aspect": _repeated(aspect, n),
                    "rank": rows.rank,
                    "value": _named(names[aspect], rows.value),
                    "triggers": rows.triggers,
                    "share": rows.share,
                    "base": rows.base,
                    "lift": _lift(rows.share, rows.base),
                    "sample_share": rows.sample_share,
                    "q": corrected[aspect][layer],
                    "distinct_q": once[aspect][layer],
                }
            )
        insert(connection, SYNTAX_PROFILES, *parts, order=SYNTAX_PROFILES.sorted_by)
    return once


def write_layers(connection: duckdb.DuckDBPyConnection, layers: Sequence[LayerFound], units: Units) -> None:
    """Write every measure by layer, and its trend from the lower to the upper half of the layers."""
    parts: list[Columns] = []
    summaries = [found.summary for found in layers]
    for layer, found in enumerate(summaries):
        quartiles = np.where([name in _SHARES_OF_KEYS for name in MEASURES], np.nan, found.quartiles)
        parts.append(
            {
                "measure": pa.array(MEASURES),
                "layer": np.full(len(MEASURES), layer),
                "keys": found.keys,
                "mean": found.mean,
                **_ends(found.mean, found.draws, found.control, layers[layer].file_triggers, units),
                **dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True)),
            }
        )
    insert(connection, SYNTAX_LAYERS, *parts, order=SYNTAX_LAYERS.sorted_by)
    if len(layers) > 1:
        mean = _trend([found.mean for found in summaries])
        draws, control = _trend([found.draws for found in summaries]), _trend([found.control for found in summaries])
        trends: Columns = {
            "measure": pa.array(MEASURES),
            "keys": np.sum([found.keys for found in summaries], axis=0),
            "difference": mean,
            **_ends(mean, draws, control, np.sum([found.file_triggers for found in layers], axis=0), units),
        }
        insert(connection, SYNTAX_TRENDS, trends, order=SYNTAX_TRENDS.sorted_by)


def write_layer_values(
    connection: duckdb.DuckDBPyConnection,
    layers: Sequence[LayerFound],
    corpus: Corpus,
    once: Mapping[str, list[FloatArray]],
) -> None:
    """Write how common each value is among the triggers of each layer."""
    for aspect in ASPECTS:
        chosen = _worth_rows(aspect, layers, corpus)
        for layer, found in enumerate(layers):
            if len(chosen) and found.file_triggers.any():
                shares = _shares(chosen, found.values[aspect], found.file_triggers, corpus.units)
                tops = _tops(chosen, found.profiles[aspect], once[aspect][layer])
                value = _named(corpus.places.names[aspect], chosen)
                place: Columns = {"aspect": _repeated(aspect, len(chosen)), "value": value}
                insert(
                    connection, SYNTAX_LAYER_VALUES, {**place, "layer": np.full(len(chosen), layer), **shares, **tops}
                )


def write_base(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """Write how common each value is in the corpus, by language; values that do not occur are left out."""
    store = corpus.store
    parts: list[Columns] = []
    for aspect in ASPECTS:
        for number, language in enumerate(store.language_names):
            files = np.flatnonzero(store.languages == number)
            counts = counts_by_file(store, corpus.places, files, aspect)
            there = np.flatnonzero(counts.sum(axis=0))
            members = corpus.units.members(files)
            share = share_interval(counts[:, there], counts.sum(axis=1), members)
            parts.append(
                {
                    "aspect": _repeated(aspect, len(there)),
                    "value": _named(corpus.places.names[aspect], there),
                    "language": _repeated(language, len(there)),
                    "tokens": counts.sum(axis=0)[there],
                    "share": share.estimate,
                    "low": share.low,
                    "high": share.high,
                    "files": np.full(len(there), len(files)),
                    "projects": share.projects,
                }
            )
    insert(connection, SYNTAX_BASE, *parts, order=SYNTAX_BASE.sorted_by)


def _shares(chosen: IntArray, found: ValueCounts, file_triggers: IntArray, units: Units) -> Columns:
    """How common the chosen values are among the triggers of a layer, with interval, control and base rate."""
    place = np.full(found.control.shape[1], -1)
    place[chosen] = np.arange(len(chosen))
    kept = place[found.of_value] >= 0
    by_file = np.zeros((len(file_triggers), len(chosen)))
    by_file[found.of_file[kept], place[found.of_value[kept]]] = found.counts[kept]
    share = share_interval(by_file, file_triggers, units.members())
    control, base = found.control[:, chosen], found.expected[chosen]
    low, high = np.quantile(control, _ENDS, axis=0)
    return {
        "triggers": by_file.sum(axis=0).astype(np.int64),
        "share": share.estimate,
        "low": share.low,
        "high": share.high,
        "files": np.full(len(chosen), (file_triggers > 0).sum()),
        "projects": share.projects,
        "control": control.mean(axis=0),
        "control_low": low,
        "control_high": high,
        "base": base,
        "lift": _lift(share.estimate, base),
    }


def _tops(chosen: IntArray, found: Profiles, distinct_q: FloatArray) -> Columns:
    """How many keys have each chosen value as their commonest, and how many of them significantly."""
    size = 1 + max(int(chosen.max()), int(found.tops.max(initial=0)))
    significant = found.tops[distinct_q[found.rank == 1] <= SIGNIFICANT]
    return {
        "keys": np.bincount(found.tops, minlength=size)[chosen],
        "significant": np.bincount(significant, minlength=size)[chosen],
    }


def _lift(share: FloatArray, base: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(base > 0, share / base, np.nan)


def _worth_rows(aspect: str, layers: Sequence[LayerFound], corpus: Corpus) -> IntArray:
    """The values that get rows by layer: all roles, and of other aspects those that are common somewhere."""
    size = len(corpus.places.names[aspect])
    if aspect == "role":
        return np.arange(size)
    keys = sum(np.bincount(found.profiles[aspect].tops, minlength=size) for found in layers)
    common = (corpus.base[aspect] >= WORTH_A_ROW).any(axis=0)
    return np.flatnonzero(common | (keys >= WORTH_A_ROW * max(int(np.sum(keys)), 1)))


def _ends(mean: FloatArray, draws: FloatArray, control: FloatArray, file_triggers: IntArray, units: Units) -> Columns:
    """Interval and control of estimates [measures], from draws [draws, measures] and controls [controls, measures].

    Resampling projects duplicates triggers, which makes them look more alike than they are: all draws are biased. So the
    interval is the spread of the draws about their mean, laid around the estimate.
    """
    members = units.members()
    triggers = members.sums(file_triggers)
    projects = int((triggers[members.are_projects] > 0).sum()) or np.nan
    found = spread_about(mean, draws, widening(triggers), projects)
    without = np.array([name in _NO_CONTROL for name in MEASURES])
    chance = np.where(without, np.nan, np.stack([control.mean(axis=0), *np.quantile(control, _ENDS, axis=0)]))
    return {
        "low": found.low,
        "high": found.high,
        "files": np.full(len(mean), (file_triggers > 0).sum()),
        "projects": found.projects,
        **dict(zip(("control", "control_low", "control_high"), chance, strict=True)),
    }


def _trend(values: Sequence[FloatArray]) -> FloatArray:
    """Mean of the upper half of the layers less that of the lower; a middle layer is in neither."""
    half = len(values) // 2
    return np.asarray(np.mean(values[-half:], axis=0) - np.mean(values[:half], axis=0))


def _corrected(by_layer: Sequence[FloatArray]) -> list[FloatArray]:
    """q of every row, corrected over the keys of all layers; NaN for rows without p.

    Over all layers at once: a rate controlled layer by layer would let noise through in every layer.
    """
    log_p = np.concatenate(by_layer)
    q = np.full(len(log_p), np.nan)
    there = ~np.isnan(log_p)
    if there.any():
        q[there] = np.exp(benjamini_hochberg(log_p[there]))
    return np.split(q, np.cumsum([len(each) for each in by_layer])[:-1])


def _named(names: Sequence[str], values: IntArray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), pa.array(names, pa.string()))


def _repeated(text: str, n: int) -> pa.Array:
    return _named([text], np.zeros(n, dtype=np.int64))
