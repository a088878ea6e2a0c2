"""Rows of the tables by key: its measures, languages, positions and detected tokens."""

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from keyscope.contract import bins
from keyscope.contract.analyses.firing import FIRING_DETECTORS, FIRING_KEYS, FIRING_LANGUAGES, FIRING_POSITIONS
from keyscope.worker.analysis.firing import languages, positions
from keyscope.worker.analysis.firing.counting import LEVELS
from keyscope.worker.analysis.firing.keys import Keys
from keyscope.worker.rows import Columns, insert

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_EDGES = np.array(bins.edges())


def write_keys(connection: duckdb.DuckDBPyConnection, keys: Keys, layer: int, part: slice) -> None:
    """Write the rows of a layer's keys, which are the slice `part` of all keys."""
    n = part.stop - part.start
    name: Columns = {"layer": np.full(n, layer), "index": np.arange(n)}
    levels, settings = keys.corpus.levels, keys.settings
    level = keys.first_level(part)
    tokens = keys.detects[np.maximum(level, 0), np.arange(part.start, part.stop)].sum(axis=1)
    positional: BoolArray = np.any(keys.information[:, part] > settings.position_information, axis=0)
    clearer = keys.information[:, part].argmax(axis=0)
    shapes = positions.shapes(keys.position_rates[clearer, np.arange(part.start, part.stop)])
    columns: Columns = name | {
        "strong_level": levels.strong[layer],
        "strong_rate": keys.totals[LEVELS.index("strong"), part] / keys.corpus.tokens.sum(),
        "position_information": keys.information[0, part],
        "position_information_strong": keys.information[1, part],
        "position_shape": _texts(shapes, positional),
        "strong_language_entropy": keys.specific.entropy[part],
        "language_p": keys.specific.p[part],
        "language_q": keys.specific.q[part],
        "specific_language": _named(keys.corpus.names, keys.specific.language[part]),
        "own_logit": keys.own_logits[part],
        "detected_tokens": tokens,
        "detector_level": _named(LEVELS, level),
        **{
            name: _texts(keys.classes[basis][part], keys.classes[basis][part] != "")
            for name, basis in (("folded_class", "folded"), ("weight_class", "raw"))
        },
    }
    found = keys.identification(part) if keys.several else None
    if found is not None:
        best = languages.best_language(found.f1)
        columns["language_f1"] = found.f1[np.arange(n), best]
        columns["identified_language"] = _named(keys.corpus.names, best)
    insert(connection, FIRING_KEYS, columns)
    by_language = [name | _of_language(keys, part, number, found) for number in range(len(keys.corpus.names))]
    insert(connection, FIRING_LANGUAGES, *by_language, order=FIRING_LANGUAGES.sorted_by)
    by_level = [name | _of_level(keys, part, number) for number in range(len(keys.position_rates))]
    insert(connection, FIRING_POSITIONS, *by_level, order=FIRING_POSITIONS.sorted_by)
    _write_detectors(connection, keys, layer, part)


def _of_language(keys: Keys, part: slice, number: int, found: languages.Identification | None) -> Columns:
    columns: Columns = {
        "language": pa.array([keys.corpus.names[number]] * (part.stop - part.start)),
        "strong_rate": keys.strong_rates[part, number],
    }
    if found is not None:
        columns["f1"] = found.f1[:, number]
        columns["fitted_f1"] = found.fitted[:, number]
        columns["threshold"] = _finite(_EDGES[found.threshold[:, number]])
        columns["above"] = found.above[:, number]
    return columns


def _of_level(keys: Keys, part: slice, number: int) -> Columns:
    rates = keys.position_rates[number, part].astype(np.float32)
    return {"level": pa.array([LEVELS[number]] * len(rates)), "rates": pa.array(list(rates))}


def _write_detectors(connection: duckdb.DuckDBPyConnection, keys: Keys, layer: int, part: slice) -> None:
    level, key, place = np.nonzero(keys.detects[:, part])
    if not len(key):
        return
    numbers = key + part.start
    token = keys.candidates[numbers, place]
    fired = keys.counted.tokens[level, numbers, place]
    columns: Columns = {
        "layer": np.full(len(key), layer),
        "index": key,
        "level": _named(LEVELS, level),
        "token_id": token,
        "occurrences": keys.corpus.occurrences[token],
        "fired": fired,
        "share": fired / keys.totals[level, numbers],
    }
    insert(connection, FIRING_DETECTORS, columns, order=FIRING_DETECTORS.sorted_by)


def _named(names: tuple[str, ...], numbers: npt.NDArray[np.integer]) -> pa.Array:
    """Names by number, null for -1."""
    return pa.DictionaryArray.from_arrays(
        pa.array(numbers.astype(np.int32), mask=numbers < 0), pa.array(list(names), pa.string())
    )


def _texts(texts: npt.NDArray[np.str_], there: BoolArray) -> pa.Array:
    return pa.array(texts.tolist(), pa.string(), mask=~there)


def _finite(numbers: FloatArray) -> FloatArray:
    return np.where(np.isfinite(numbers), numbers, np.nan)
