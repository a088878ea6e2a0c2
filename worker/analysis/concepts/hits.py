"""The stored triggers of every key: how many are near a match of a concept, and how many would be by chance."""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract.manifest import Manifest
from keyscope.worker.analysis.concepts.lines import Lines
from keyscope.worker.analysis.intervals import Interval, share_interval
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_TRIGGERS = """
    SELECT t."index", w.file_id, t.line, w.start, t.position FROM triggers t JOIN windows w USING (window_id)
    WHERE t.layer = ? AND (t.polarity = 'max' OR ?) ORDER BY t."index", abs(t.coefficient) DESC, t.language, t.rank"""


@dataclass(frozen=True)
class LayerTriggers:
    """Triggers of a layer's keys in the chosen files, by key and strength; each array is [triggers]."""

    keys: int
    indices: IntArray
    files: IntArray
    lines: IntArray
    """Numbers of their lines, counted through the corpus."""
    languages: IntArray
    """Index of the language of each."""
    firsts: IntArray
    """Number of the first token of each trigger's window in the corpus."""
    tokens: IntArray
    """Number of each trigger's token."""

    def trials(self, n_languages: int) -> IntArray:
        """Triggers of each key by language, [keys, languages]."""
        flat = np.bincount(self.indices * n_languages + self.languages, minlength=self.keys * n_languages)
        return flat.reshape(self.keys, n_languages)


def read_triggers(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, store: TokenStore, lines: Lines, files: BoolArray
) -> Iterator[LayerTriggers]:
    """Read the triggers in the chosen files, a layer at a time; in gated layers those of either sign."""
    for layer, keys in enumerate(manifest.model.keys_per_layer):
        found = connection.cursor().execute(_TRIGGERS, [layer, manifest.model.gated]).fetchnumpy()
        file = found["file_id"].astype(np.int64)
        kept = files[file]
        file = file[kept]
        firsts = store.offsets[file] + found["start"][kept].astype(np.int64)
        yield LayerTriggers(
            keys=keys,
            indices=found["index"][kept].astype(np.int64),
            files=file,
            lines=lines.called(file, found["line"][kept]),
            languages=store.languages[file].astype(np.int64),
            firsts=firsts,
            tokens=firsts + found["position"][kept].astype(np.int64) - len(manifest.model.bos),
        )


def token_lines(store: TokenStore, lines: Lines) -> IntArray:
    """Number of every token's line, counted through the corpus, [tokens]."""
    return lines.called(np.repeat(np.arange(store.n_files), store.lengths), store.lines)


def base_rates(subject: Subject, lines_of_tokens: IntArray, near: BoolArray, files: BoolArray) -> Interval:
    """Share of the tokens that count near a match, by language, [languages]: the chance of a hit, with its interval.

    Over tokens, not lines: a trigger is a token, so long lines are hit more often by chance too.

    Args:
        subject: the run.
        lines_of_tokens: as returned by `token_lines`.
        near: which lines are near a match, [lines].
        files: the chosen files.
    """
    store = subject.store
    before = np.concatenate([[0], np.cumsum(near[lines_of_tokens] & ~store.boilerplate, dtype=np.int64)])
    by_file = np.diff(before[store.offsets])
    chosen = np.flatnonzero(files)
    of_language = store.languages[chosen][:, None] == np.arange(len(store.language_names))
    near_of, all_of = (each[chosen, None] * of_language for each in (by_file, store.counted))
    return share_interval(near_of, all_of, subject.units.members(chosen))
