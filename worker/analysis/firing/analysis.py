"""The analysis: one step counts some files of one language; the sums of all steps give the rows."""

from collections.abc import Sequence
from typing import Any, ClassVar

import duckdb
import numpy as np
import numpy.typing as npt

from worker.analysis.analysis import Analysis, Arrays, Results, Step, file_steps
from worker.analysis.firing.corpus import Corpus, Counted
from worker.analysis.firing.counting import FILES_AT_ONCE, StepCounts
from worker.analysis.firing.levels import read_levels
from worker.analysis.firing.rows import write_rows
from worker.analysis.firing.settings import FiringSettings
from worker.analysis.subject import Subject
from worker.progress import Advance

IntArray = npt.NDArray[np.int64]
STEPS = 24
"""About how many steps there are at most, for each keeps counts of every key on disk."""
_CANDIDATES = 'SELECT "index", rank, token_id FROM fires_on WHERE layer = ? AND rank <= ?'


class Firing(Analysis):
    """When the keys of a run fire."""

    kind: ClassVar[str] = "firing"
    settings: FiringSettings

    def steps(self, subject: Subject) -> Sequence[Step]:
        """Files by language, each step in one."""
        return file_steps(subject, max(FILES_AT_ONCE, -(-subject.store.n_files // STEPS)))

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Count the files of a step."""
        settings = self.settings
        levels = read_levels(subject.connection, subject.manifest, settings.strong_share)
        found = candidates(subject, settings.candidates)
        counts = StepCounts(subject, levels, found, settings.position_buckets, settings.seed)
        counts.add(step.files, advance)
        return counts.arrays()

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        """Write the rows of all tables."""
        levels = read_levels(subject.connection, subject.manifest, self.settings.strong_share)
        counted = _summed(subject, results)
        corpus = Corpus(subject, levels, candidates(subject, self.settings.candidates))
        write_rows(connection, corpus, counted, self.settings)


def candidates(subject: Subject, most: int) -> list[IntArray]:
    """The tokens counted for each key: those it fires on most among its stored triggers and samples, -1 for none.

    [keys, candidates] for every layer.
    """
    tokens = []
    for layer, keys in enumerate(subject.manifest.model.keys_per_layer):
        found = subject.connection.cursor().execute(_CANDIDATES, [layer, most]).fetchnumpy()
        table = np.full((keys, most), -1, dtype=np.int64)
        table[found["index"], found["rank"].astype(np.int64) - 1] = found["token_id"]
        tokens.append(table)
    return tokens


def _summed(subject: Subject, results: Results) -> Counted:
    """The sums over all steps, those that differ by language kept apart."""
    languages = len(subject.store.language_names)
    totals: dict[str, Any] = {}
    files: dict[str, list[npt.NDArray[Any]]] = {"files": [], "file_tokens": [], "file_fires": []}
    for name in results:
        arrays = results[name]
        for part in files:
            files[part].append(arrays[part])
        language = int(subject.store.languages[arrays["files"][0]])
        for part in ("positions", "in_bucket", "tokens"):
            totals[part] = totals.get(part, 0) + arrays[part].astype(np.int64)
        for part in ("totals", "means", "rates"):
            by_language = totals.setdefault(part, np.zeros((languages, *arrays[part].shape), _wide(arrays[part])))
            by_language[language] += arrays[part]
    return Counted(**totals, **{part: np.concatenate(arrays) for part, arrays in files.items()})


def _wide(array: npt.NDArray[Any]) -> npt.DTypeLike:
    """A type that sums of the array cannot overflow."""
    return np.float64 if array.dtype.kind == "f" else np.uint32 if array.dtype == np.uint16 else np.int64
