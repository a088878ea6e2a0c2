"""The analysis in steps: some count the files of one block each, then others draw blocks for the intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Step
from keyscope.worker.analysis.blocks import block_steps
from keyscope.worker.analysis.firing.blocks import Blocks
from keyscope.worker.analysis.firing.corpus import Corpus, Counted
from keyscope.worker.analysis.firing.counting import StepCounts, of_layer
from keyscope.worker.analysis.firing.draws import Draws, draw_languages, draw_layer, draw_tokens, read_draws
from keyscope.worker.analysis.firing.levels import Levels, read_levels
from keyscope.worker.analysis.firing.own_tokens import listed_tokens, read_own_tokens
from keyscope.worker.analysis.firing.rows import write_rows
from keyscope.worker.analysis.firing.settings import FiringSettings
from keyscope.worker.analysis.intervals import FEWEST_UNITS
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import Reader
from keyscope.worker.progress import Advance

IntArray = npt.NDArray[np.int64]
_LANGUAGES = "draws-languages"


@dataclass(frozen=True)
class _Known:
    """What is read from a run before its files are counted."""

    subject: Subject
    levels: Levels
    candidates: list[IntArray]


class Firing(Analysis):
    """When the keys of a run fire."""

    kind: ClassVar[str] = "firing"
    settings: FiringSettings

    def __init__(self, settings: FiringSettings) -> None:
        super().__init__(settings)
        self._read: _Known | None = None

    def steps(self, subject: Subject) -> Sequence[Step]:
        """One step per block of files; then draws per layer, and of languages over all layers, given enough files."""
        return [*block_steps(subject), *_draws(subject)]

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Recompute the measures of a layer over draws of blocks."""
        known, settings = self._known(subject), self.settings
        blocks, names = Blocks(subject, done, settings.draws, settings.seed), subject.store.language_names
        if step.name == _LANGUAGES:
            return draw_languages(blocks, subject.manifest.model.keys_per_layer, names, settings)
        layer = int(step.name.partition("-")[2])
        own = read_own_tokens(subject, blocks, layer)
        return draw_layer(blocks, layer, known.candidates[layer], own, names, settings)

    def reader(self, subject: Subject, step: Step, done: Results) -> Reader:
        """Count the files of a block."""
        known, settings = self._known(subject), self.settings
        return StepCounts(subject, known.levels, known.candidates, settings.position_buckets, settings.seed)

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        known = self._known(subject)
        corpus = Corpus(subject, known.levels, known.candidates)
        counted = _summed(subject, results)
        drawn = _drawn(subject, results, self.settings.draws)
        write_rows(connection, corpus, counted, drawn, self.settings)

    def _known(self, subject: Subject) -> _Known:
        if self._read is None or self._read.subject is not subject:
            levels = read_levels(subject.connection, subject.manifest, self.settings.strong_share)
            self._read = _Known(subject, levels, candidates(subject, self.settings.candidates))
        return self._read


def candidates(subject: Subject, most: int) -> list[IntArray]:
    """The tokens to count for each key of every layer: those most common among its stored triggers and samples."""
    return [listed_tokens(subject, layer, most) for layer in range(subject.manifest.model.n_layers)]


def _draws(subject: Subject) -> list[Step]:
    layers = [Step(f"draws-{layer:03}", (), 0) for layer in range(subject.manifest.model.n_layers)]
    languages = [step.files[0] for step in block_steps(subject)]
    of_each = np.unique(subject.store.languages[languages], return_counts=True)[1]
    if of_each.sum() < FEWEST_UNITS:
        return []
    if len(of_each) == 1 or of_each.min() < FEWEST_UNITS:
        return layers
    return [*layers, Step(_LANGUAGES, (), 0)]


def _summed(subject: Subject, results: Results) -> Counted:
    """Sum over all blocks; what differs by language is kept apart."""
    languages = len(subject.store.language_names)
    layers = range(subject.manifest.model.n_layers)
    totals: dict[str, Any] = {}
    files: dict[str, list[npt.NDArray[Any]]] = {"files": [], "file_tokens": [], "file_fires": []}
    for step in block_steps(subject):
        arrays = results[step.name]
        for part in files:
            files[part].append(arrays[part])
        language = int(subject.store.languages[step.files[0]])
        totals["in_bucket"] = totals.get("in_bucket", 0) + arrays["in_bucket"]
        for part in ("positions", "tokens"):
            counts = np.concatenate([arrays[of_layer(part, layer)] for layer in layers], axis=1)
            totals[part] = totals.get(part, 0) + counts.astype(np.int64)
        for part in ("totals", "means", "rates"):
            counts = np.concatenate([arrays[of_layer(part, layer)] for layer in layers], axis=1)
            by_language = totals.setdefault(part, np.zeros((languages, *counts.shape), _wide(part)))
            by_language[language] += counts
    return Counted(**totals, **{part: np.concatenate(arrays) for part, arrays in files.items()})


def _wide(part: str) -> npt.DTypeLike:
    """A type that the sums cannot overflow; counts of files fit in half the bytes."""
    return {"rates": np.float64, "means": np.uint32}.get(part, np.int64)


def _drawn(subject: Subject, results: Results, draws: int) -> Draws:
    """Every measure over the draws."""
    names = [step.name for step in _draws(subject)]
    of_layers = [results[name] for name in names if name != _LANGUAGES]
    by_layer = [read_draws(arrays) for arrays in of_layers]
    drawn = {
        **{
            which: np.stack([drawn[which] for drawn in by_layer], axis=1) for which in (by_layer[0] if by_layer else ())
        },
        **(draw_tokens(of_layers, draws, subject.model.facts.vocabulary) if of_layers else {}),
        **(read_draws(results[_LANGUAGES]) if _LANGUAGES in names else {}),
    }
    store = subject.store
    tokens = np.array([step.tokens for step in block_steps(subject)])
    units = subject.units
    return Draws(drawn, tokens, int((store.counted > 0).sum()), int(units.are_projects.sum()) or None)
