"""Triggers and samples of keys, read from a run as places in its corpus."""

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.analysis import Arrays, read_record, record_arrays
from keyscope.worker.analysis.subject import Subject

IntArray = npt.NDArray[np.int64]

_PLACES = """
    SELECT {columns} FROM {examples} JOIN windows USING (window_id)
    WHERE {where} AND coefficient > 0 {strongest} ORDER BY {order}"""
_STRONGEST = """
    QUALIFY row_number() OVER (PARTITION BY layer, "index" ORDER BY coefficient DESC, language, rank) <= $limit"""
_BY_KEY = 'layer, "index", coefficient DESC, language, rank'
_BY_PLACE = 'file_id, start, position, layer, "index"'
_OTHER_SAMPLES = """
    samples ANTI JOIN (SELECT layer, "index", window_id, position FROM triggers WHERE polarity = 'max')
    USING (layer, "index", window_id, position)"""
_FIRING_BANDS = "band NOT IN ('random', 'silent')"
_COLUMNS = {
    "layer": "layer",
    "key": '"index"',
    "file": "file_id",
    "start": "start",
    "length": "len(token_ids)",
    "position": "position",
}


@dataclass(frozen=True)
class Examples:
    """Examples of keys; all arrays are [examples]."""

    layer: IntArray
    key: IntArray
    """Index of the key within its layer."""
    file: IntArray
    first: IntArray
    """Number of the window's first token in the corpus."""
    length: IntArray
    """Tokens of the window."""
    token: IntArray
    """Number of the example's token in the corpus."""

    def __len__(self) -> int:
        return len(self.key)

    def arrays(self) -> Arrays:
        """The examples as the result of a step."""
        return record_arrays(self, "example_")

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> "Examples":
        """The inverse of `arrays`."""
        return read_record(cls, arrays, "example_")

    def take(self, chosen: npt.NDArray[np.bool_] | IntArray | slice) -> "Examples":
        return Examples(**{name: array[chosen] for name, array in vars(self).items()})


def strongest_triggers(subject: Subject, layer: int) -> Examples:
    """A layer's strongest triggers over all languages, as many as the run keeps per language; by key and rank."""
    limit = subject.manifest.settings.top_k
    return _read(subject, "triggers", "polarity = 'max' AND layer = $layer", _BY_KEY, layer=layer, limit=limit)


def mutated_triggers(subject: Subject, limit: int) -> Examples:
    """The `limit` strongest triggers of every key, in corpus order."""
    return _read(subject, "triggers", "polarity = 'max'", _BY_PLACE, limit=limit)


def firing_samples(subject: Subject, layer: int) -> Examples:
    """Samples of a layer's keys, triggers left out, from the deciles of the windows in which they fire."""
    return _read(subject, _OTHER_SAMPLES, f"{_FIRING_BANDS} AND layer = $layer", _BY_PLACE, layer=layer)


def stored_examples(subject: Subject, layer: int) -> tuple[IntArray, IntArray, IntArray]:
    """Key, token and file of every place where a layer's keys fire among triggers and samples, each place once."""
    found = [
        _read(subject, "triggers", "polarity = 'max' AND layer = $layer", _BY_PLACE, layer=layer),
        _read(subject, "samples", "layer = $layer", _BY_PLACE, layer=layer),
    ]
    places = np.concatenate([[each.key, each.token, each.file] for each in found], axis=1)
    key, token, file = np.unique(places, axis=1)
    return key, token, file


def _read(subject: Subject, examples: str, where: str, order: str, **values: int) -> Examples:
    query = _PLACES.format(
        columns=", ".join(f"{column} AS {name}" for name, column in _COLUMNS.items()),
        examples=examples,
        where=where,
        strongest=_STRONGEST if "limit" in values else "",
        order=order,
    )
    with subject.connection.cursor() as cursor:
        found = {name: array.astype(np.int64) for name, array in _fetch(cursor, query, values).items()}
    prefix = len(subject.model.facts.bos)
    first = subject.store.offsets[found["file"]] + found["start"]
    return Examples(
        layer=found["layer"],
        key=found["key"],
        file=found["file"],
        first=first,
        length=found["length"] - prefix,
        token=first + found["position"] - prefix,
    )


def _fetch(cursor: duckdb.DuckDBPyConnection, query: str, values: dict[str, int]) -> dict[str, npt.NDArray[np.generic]]:
    return cursor.execute(query, values).fetchnumpy()
