"""The kind `edit`: choose keys and controls, read the keys' range on the concept, then measure under every mask."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from keyscope.contract.concepts import Concept
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Step
from keyscope.worker.analysis.edit import keys as choice
from keyscope.worker.analysis.edit.conditions import Condition, conditions
from keyscope.worker.analysis.edit.measure import coefficients_on, measure
from keyscope.worker.analysis.edit.places import Cells, Chosen, choose
from keyscope.worker.analysis.edit.rows import Measured, write_rows
from keyscope.worker.analysis.edit.settings import EditSettings
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import units_of
from keyscope.worker.precompute.windows import Window
from keyscope.worker.progress import Advance

KEYS, RANGE = "keys", "range"
WINDOWS_PER_STEP = 32
RANGE_SHARE = 4
"""Factor by which fewer tokens are read for the range of coefficients than for the measurement."""


def make(settings: Mapping[str, Any]) -> Analysis:
    """Build the edit with these settings; every edit is a part of its own."""
    chosen = EditSettings.model_validate(settings)
    return EditAnalysis(chosen, chosen.part)


class EditAnalysis(Analysis):
    """The effects of masking a concept's keys."""

    kind = "edit"
    settings: EditSettings

    def __init__(self, settings: EditSettings, part: str | None = None) -> None:
        super().__init__(settings, part)
        self._chosen: tuple[Chosen, Chosen] | None = None

    def steps(self, subject: Subject) -> Sequence[Step]:
        """Choose the keys, read their range on the concept, then measure some windows per step."""
        picking, held_out = self._windows(subject)
        steps = [Step(KEYS, (), 0), _step(RANGE, picking.with_concept)]
        steps += [_step(name, windows) for name, windows in _in_steps(held_out)]
        return steps

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Choose the keys, read their range, or sum over a step's windows under every condition."""
        if step.name == KEYS:
            return self._choose_keys(subject)
        chosen = done[KEYS]
        cells = _cells(subject, chosen)
        picking, held_out = self._windows(subject)
        if step.name == RANGE:
            main = chosen["ranked"][: int(chosen["main"])]
            centre, spread = coefficients_on(subject, cells, picking.with_concept, main, advance)
            return {"centre": centre, "spread": spread}
        windows = dict(_in_steps(held_out))[step.name]
        return measure(subject, cells, windows, self._conditions(chosen, done[RANGE]), advance)

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        chosen = results[KEYS]
        names = [name for name in results if name not in (KEYS, RANGE)]
        _, held_out = self._windows(subject)
        measured = Measured(
            edit=self.settings.part,
            settings=self.settings,
            cells=_cells(subject, chosen),
            windows=(len(held_out.with_concept), len(held_out.without)),
            table=choice.read_keys(subject),
            conditions=self._conditions(chosen, results[RANGE]),
            ranked=chosen["ranked"],
            factors=chosen["factors"],
            centre=results[RANGE]["centre"],
            spread=results[RANGE]["spread"],
            parts=[results[name] for name in sorted(names)],
            all_units=units_of(subject.store),
        )
        write_rows(subject, connection, measured)

    def _windows(self, subject: Subject) -> tuple[Chosen, Chosen]:
        """Windows of the files that keys are picked on, and of those held out.

        Keys chosen on the files they are then measured on would look better than they are.
        """
        if self._chosen is None:
            concept, _ = choice.read_concepts(subject.connection, self.settings.concept)
            with subject.progress.stage("checking the patterns", None, "patterns") as advance:
                subject.matching.check([concept], subject.store.language_names, advance)
            tokens, seed = self.settings.tokens, self.settings.seed
            self._chosen = (
                choose(subject, concept, False, tokens // RANGE_SHARE, seed),
                choose(subject, concept, True, tokens, seed),
            )
        return self._chosen

    def _choose_keys(self, subject: Subject) -> Arrays:
        settings = self.settings
        concept, others = choice.read_concepts(subject.connection, settings.concept)
        table = choice.read_keys(subject)
        ranking = choice.rank(subject, settings, table)
        main = ranking.keys[: ranking.main]
        return {
            "ranked": ranking.keys,
            "factors": ranking.factors,
            "doses": np.array(ranking.doses),
            "main": np.array(ranking.main),
            "random": choice.random_controls(table, main, settings.draws, settings.seed),
            "matched": choice.matched_controls(table, main, settings.draws, settings.seed),
            # the concepts as they are now: more may be computed before this edit resumes, but its cells must stay
            "concepts": np.array([each.model_dump_json() for each in (concept, *others)]),
        }

    def _conditions(self, chosen: Arrays, taken: Arrays) -> list[Condition]:
        reach = self.settings.tau * taken["spread"]
        return conditions(
            chosen["ranked"],
            chosen["factors"],
            chosen["doses"].tolist(),
            int(chosen["main"]),
            (taken["centre"] - reach, taken["centre"] + reach),
            {control: chosen[control] for control in ("random", "matched")},
        )


def _cells(subject: Subject, chosen: Arrays) -> Cells:
    concept, *others = (Concept.model_validate_json(text) for text in chosen["concepts"].tolist())
    return Cells(concept, tuple(others), subject.store.language_names)


def _in_steps(chosen: Chosen) -> Iterator[tuple[str, tuple[Window, ...]]]:
    for name, windows in (("with", chosen.with_concept), ("without", chosen.without)):
        for start in range(0, len(windows), WINDOWS_PER_STEP):
            yield f"{name}-{start // WINDOWS_PER_STEP:05}", windows[start : start + WINDOWS_PER_STEP]


def _step(name: str, windows: Sequence[Window]) -> Step:
    files = sorted({window.file for window in windows})
    return Step(name, files, sum(window.length for window in windows))
