"""The analysis in steps: choose triggers, parse files and run their triggers again, then layer by layer."""

from collections.abc import Sequence
from typing import ClassVar

import duckdb
import numpy as np
from pydantic import Field

from keyscope.worker.analysis.alike import alike_units
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Seed, Settings, Step, file_steps
from keyscope.worker.analysis.draws import drawn_within
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.base import base_rates
from keyscope.worker.analysis.syntax.chance import Chance
from keyscope.worker.analysis.syntax.found import LayerFound
from keyscope.worker.analysis.syntax.layer import Corpus, read_layer
from keyscope.worker.analysis.syntax.measures import Mutated
from keyscope.worker.analysis.syntax.mutation import relative_changes
from keyscope.worker.analysis.syntax.places import merge_places, read_places
from keyscope.worker.analysis.syntax.rows import (
    write_base,
    write_keys,
    write_layer_values,
    write_layers,
    write_profiles,
)
from keyscope.worker.analysis.syntax.triggers import Examples, mutated_triggers
from keyscope.worker.precompute.windows import Cut
from keyscope.worker.progress import Advance

_CHOSEN = "chosen"
_MOST_STEPS = 64
"""Steps over files, roughly; each reads the whole list of chosen triggers, so they should not be many."""
_CHANGES = ("last", "first", "random")


class SyntaxSettings(Settings):
    """Everything that determines the rows."""

    mutated: int = Field(10, ge=1, description="Strongest triggers of each key to run again with tokens dropped")
    drops: int = Field(2, ge=1, description="Tokens dropped from the middle of a window, one at a time")
    draws: int = Field(200, ge=20, description="Bootstrap draws for the intervals by layer")
    drawn_keys: int = Field(1000, ge=1, description="Most keys of a layer to use for draws and controls")
    controls: int = Field(40, ge=2, description="Draws of the controls")
    seed: Seed = 0


class Syntax(Analysis):
    """Syntax of a run."""

    kind: ClassVar[str] = "syntax"
    settings: SyntaxSettings

    def __init__(self, settings: SyntaxSettings) -> None:
        super().__init__(settings)
        self._read: tuple[Subject, Corpus] | None = None

    def steps(self, subject: Subject) -> Sequence[Step]:
        """One step to choose triggers, then a few files per step, then one step per layer."""
        return [Step(_CHOSEN, (), 0), *_of_files(subject), *_of_layers(subject)]

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Choose triggers, read files, or measure a layer."""
        if step.name == _CHOSEN:
            return mutated_triggers(subject, self.settings.mutated).arrays()
        if step.files:
            chosen = _in_files(Examples.of_arrays(done[_CHOSEN]), step.files)
            changes: Arrays = {name: np.full(len(chosen), np.nan) for name in _CHANGES}
            if "shortening" not in subject.model.facts.undefined:
                changes = relative_changes(subject, chosen, self.settings.drops, advance)
            return {**read_places(subject.store, step.files), **changes}
        layer = int(step.name.partition("-")[2])
        keys = np.arange(subject.model.layers[layer].n_keys)
        drawn = np.random.default_rng([self.settings.seed, layer]).permutation(keys)[: self.settings.drawn_keys]
        return read_layer(subject, self._corpus(subject, done), layer, _mutated(subject, done, layer), drawn).arrays()

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        corpus = self._corpus(subject, results)
        layers = [LayerFound.of_arrays(results[step.name]) for step in _of_layers(subject)]
        write_keys(connection, layers)
        once = write_profiles(connection, layers, corpus.places.names)
        write_layers(connection, layers, corpus.units)
        write_layer_values(connection, layers, corpus, once)
        write_base(connection, corpus)

    def _corpus(self, subject: Subject, done: Results) -> Corpus:
        if self._read is None or self._read[0] is not subject:
            store = subject.store
            parts = [done[step.name] for step in _of_files(subject)]
            places = merge_places(parts, store.language_names)
            units = subject.units
            times = drawn_within(units.languages(store), self.settings.draws, self.settings.seed)
            cut = Cut.of(subject.manifest.settings)
            self._read = (
                subject,
                Corpus(
                    store=store,
                    places=places,
                    base=base_rates(store, places),
                    alike=alike_units(store, places.aspects, cut),
                    chance=Chance(store, cut, self.settings.seed),
                    units=units,
                    times=times[:, units.of_file],
                    controls=self.settings.controls,
                    vocabulary=subject.model.facts.vocabulary,
                ),
            )
        return self._read[1]


def _of_files(subject: Subject) -> list[Step]:
    return file_steps(subject, max(32, subject.store.n_files // _MOST_STEPS))


def _of_layers(subject: Subject) -> list[Step]:
    return [Step(f"layer-{layer:03}", (), 0) for layer in range(len(subject.model.layers))]


def _in_files(triggers: Examples, files: Sequence[int]) -> Examples:
    """The triggers in a range of files; triggers are ordered by file."""
    return triggers.take(slice(*np.searchsorted(triggers.file, [files[0], files[-1] + 1])))


def _mutated(subject: Subject, done: Results, layer: int) -> Mutated:
    """The triggers of one layer that were run again."""
    chosen = Examples.of_arrays(done[_CHOSEN])
    parts = [done[step.name] for step in _of_files(subject)]
    changes = {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in _CHANGES}
    there = (chosen.layer == layer) & ~np.isnan(changes["last"])
    return Mutated(chosen.key[there], chosen.file[there], **{name: each[there] for name, each in changes.items()})
