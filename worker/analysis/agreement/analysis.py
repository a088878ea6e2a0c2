"""The analysis in steps: the values of each layer first, then the chosen windows, then the contexts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import duckdb
import numpy as np
import torch

from keyscope.worker.analysis.agreement.contexts import read_contexts
from keyscope.worker.analysis.agreement.lenses import LENS_MEASURES, LENS_SPLITS
from keyscope.worker.analysis.agreement.outcomes import Sums, half_a_window_away, outcomes
from keyscope.worker.analysis.agreement.parts import NextTokens
from keyscope.worker.analysis.agreement.plan import (
    STEP_TARGETS,
    AgreementSettings,
    Targets,
    chosen_targets,
    chosen_windows,
    context_sizes,
    fitting_windows,
    tuning_windows,
    window_steps,
)
from keyscope.worker.analysis.agreement.reading import read
from keyscope.worker.analysis.agreement.ridge import LEAST_PER_DIMENSION, Ridge, fit
from keyscope.worker.analysis.agreement.rows import write_contexts, write_keys, write_layers, write_lenses
from keyscope.worker.analysis.agreement.values import ValueTops, read_values, value_tops
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Step
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import IntArray, Places, places
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Window, in_batches
from keyscope.worker.progress import Advance

_LENS = "lens"
Work = Callable[[Results, Advance], Arrays]


class Agreement(Analysis):
    """Layer agreement of a run."""

    kind: ClassVar[str] = "agreement"
    settings: AgreementSettings

    def __init__(self, settings: AgreementSettings) -> None:
        super().__init__(settings)
        self._planned: tuple[Subject, dict[Step, Work]] | None = None

    def steps(self, subject: Subject) -> Sequence[Step]:
        """One step per layer for its values, one for the lens, steps of some files' windows, then of some files' targets.

        Raises:
            UndefinedHere: in this architecture, a residual without its feed-forward layer cannot be had by subtraction.
        """
        subject.model.require("agreement")
        return list(self._plan(subject))

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Run the step's work; windows need the values of all layers, which come first."""
        return self._plan(subject)[step](done, advance)

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        names = [step.name for step in self._plan(subject)]
        of = {
            kind: [results[name] for name in names if name.startswith(kind)]
            for kind in ("values", "windows", "contexts")
        }
        languages = np.array(subject.store.language_names)[subject.store.languages]
        units = subject.units
        sizes = context_sizes(subject, self.settings.longest_context)
        write_layers(connection, of["windows"], languages, units)
        write_lenses(connection, of["windows"], of["contexts"], sizes, units)
        token_counts = subject.store.token_counts(subject.model.facts.vocabulary)
        write_contexts(connection, of["contexts"], sizes, token_counts, units)
        write_keys(connection, of["values"], units)

    def _plan(self, subject: Subject) -> dict[Step, Work]:
        if self._planned is None or self._planned[0] is not subject:
            self._planned = subject, dict(self._works(subject))
        return self._planned[1]

    def _works(self, subject: Subject) -> list[tuple[Step, Work]]:
        works: list[tuple[Step, Work]] = []
        for layer in range(subject.model.facts.n_layers):
            work = partial(_values_step, subject, layer, self.settings.seed)
            works.append((Step(f"values-{layer:03}", (), 0), work))
        works.append((Step(_LENS, (), 0), partial(_lens_step, subject, self.settings)))
        for number, windows in enumerate(window_steps(subject.store, chosen_windows(subject, self.settings))):
            files = tuple(sorted({window.file for window in windows}))
            step = Step(f"windows-{number:05}", files, sum(window.length for window in windows))
            works.append((step, partial(_windows_step, subject, windows, files, self.settings.seed)))
        targets, sizes = chosen_targets(subject, self.settings), context_sizes(subject, self.settings.longest_context)
        for number, start in enumerate(range(0, len(targets), STEP_TARGETS)):
            some = targets.take(slice(start, start + STEP_TARGETS))
            step = Step(f"contexts-{number:05}", tuple(np.unique(some.files).tolist()), len(some) * sum(sizes))
            works.append((step, partial(_contexts_step, subject, some, sizes)))
        return works


def _values_step(subject: Subject, layer: int, seed: int, _done: Results, advance: Advance) -> Arrays:
    return read_values(subject, layer, seed, advance)


def _contexts_step(subject: Subject, targets: Targets, sizes: Sequence[int], done: Results, advance: Advance) -> Arrays:
    return read_contexts(subject, targets, sizes, Ridge.of(subject.model, done[_LENS]), advance)


def _lens_step(subject: Subject, settings: AgreementSettings, _done: Results, advance: Advance) -> Arrays:
    windows, tuning = fitting_windows(subject, settings), tuning_windows(subject, settings)
    found = fit(subject, windows, tuning, settings.seed, lambda _tokens: advance(0))
    if "maps" not in found:
        width = subject.model.unembedding.shape[1]
        subject.progress.note(
            f"no ridge lens: {int(found['fitted']):,} tokens are too few for residuals of {width:,} entries, which take "
            f"{LEAST_PER_DIMENSION * width:,}; --set lens_tokens=N asks for more"
        )
    return found


def _windows_step(
    subject: Subject, windows: list[Window], files: Sequence[int], seed: int, done: Results, advance: Advance
) -> Arrays:
    model, store = subject.model, subject.store
    values = value_tops(model, [done[f"values-{layer:03}"] for layer in range(model.facts.n_layers)])
    # seeded anew in every step, so all steps deal the values alike and an interrupted analysis does too
    generator = torch.Generator().manual_seed(seed)
    permuted: list[ValueTops] = [each.permuted(generator) for each in values]
    kinds = NextTokens(store, files)
    sums = Sums(files, model.facts.n_layers)
    ridge, tested = Ridge.of(model, done[_LENS]), subject.units.test
    through_lenses = Sums(files, model.facts.n_layers, LENS_MEASURES, LENS_SPLITS)
    longest_first = sorted(windows, key=lambda window: (-window.length, window))
    for batch in in_batches(store, longest_first, subject.batch, model.facts.bos, model.device):
        at = places(subject, batch)
        in_test, parts = tested[at.files], kinds.parts(at)
        reading = read(model, batch, at, values, permuted, ridge, in_test)
        following = torch.from_numpy(_following(store, at)).to(model.device)
        found = outcomes(reading, following, half_a_window_away(reading.final, at))
        sums.add(found, at.files, parts)
        if reading.lenses is not None:
            through_lenses.add(reading.lenses, at.files[in_test], parts[in_test])
        advance(batch.n_tokens)
    return {**sums.arrays(), **through_lenses.arrays("lens_")}


def _following(store: TokenStore, at: Places) -> IntArray:
    """The token after each token in its file, across the ends of windows; -1 after a file's last, [n]."""
    last = at.numbers + 1 == store.offsets[at.files + 1]
    return np.where(last, -1, store.token_ids[np.where(last, at.numbers, at.numbers + 1)]).astype(np.int64)
