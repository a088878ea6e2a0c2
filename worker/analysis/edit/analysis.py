"""The kind `edit`: choose keys, dose and controls, each on files of its own, then measure every mask on held-out files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from keyscope.contract.concepts import Concept
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Step
from keyscope.worker.analysis.edit import keys as choice
from keyscope.worker.analysis.edit.conditions import Condition, Masks, conditions, doses
from keyscope.worker.analysis.edit.damage import GeneralCode, match
from keyscope.worker.analysis.edit.elsewhere import Elsewhere, bank_on, means_on
from keyscope.worker.analysis.edit.keys import IntArray
from keyscope.worker.analysis.edit.measure import coefficients_on, measure
from keyscope.worker.analysis.edit.places import CONCEPT, GENERAL, Budget, Cells, Chosen, choose
from keyscope.worker.analysis.edit.rows import Measured, write_rows
from keyscope.worker.analysis.edit.scores import LOSS
from keyscope.worker.analysis.edit.settings import EditSettings
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import PICK, TEST, TUNE
from keyscope.worker.precompute.windows import Window
from keyscope.worker.progress import Advance

KEYS, MEANS, RANGE, DOSE, CONTROLS, BANK = "keys", "means", "range", "dose", "controls", "bank"
DAMAGE = "damage"
"""One step for each draw of controls matched on damage."""
WINDOWS_PER_STEP = 32
NONE = -1
"""Fills up rows of keys of different lengths."""


def make(settings: Mapping[str, Any]) -> Analysis:
    """Build the edit with these settings; every edit is a part of its own."""
    chosen = EditSettings.model_validate(settings)
    return EditAnalysis(chosen, chosen.part)


class EditAnalysis(Analysis):
    """The effects of masking a concept's keys."""

    kind = "edit"
    rests_on = ("concepts",)
    settings: EditSettings

    def __init__(self, settings: EditSettings, part: str | None = None) -> None:
        super().__init__(settings, part)
        self._chosen: dict[int, Chosen] | None = None
        self._sample: GeneralCode | None = None

    def steps(self, subject: Subject) -> Sequence[Step]:
        """Choose the keys, their means and range, the dose, the controls; then measure some windows per step."""
        subject.model.require("edit")
        chosen = self._windows(subject)
        pick, tune = chosen[PICK], chosen[TUNE]
        return [
            Step(KEYS, (), 0),
            _step(MEANS, pick.without),
            _step(RANGE, pick.with_concept),
            _step(DOSE, (*tune.with_concept, *tune.without) if self.settings.tunes else ()),
            Step(CONTROLS, (), 0),
            *(Step(f"{DAMAGE}-{draw:04}", (), 0) for draw in range(self.settings.draws)),
            _step(BANK, pick.without),
            *(_step(name, windows) for name, windows in _in_steps(chosen[TEST])),
        ]

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Compute a step from those before it."""
        if step.name == KEYS:
            return self._choose_keys(subject)
        cells, chosen = _cells(subject, done[KEYS]), self._windows(subject)
        if step.name == MEANS:
            return {"means": means_on(subject, chosen[PICK].without, advance)}
        if step.name == RANGE:
            keys = done[KEYS]["ranked"]
            centre, spread = coefficients_on(subject, cells, chosen[PICK].with_concept, keys, advance)
            return {"centre": centre, "spread": spread}
        if step.name == DOSE:
            return self._choose_dose(subject, cells, done, advance)
        if step.name == CONTROLS:
            return self._choose_controls(subject, cells, done, advance)
        if step.name.startswith(DAMAGE):
            return self._match(subject, cells, done, int(step.name.rpartition("-")[2]), advance)
        if step.name == BANK:
            masks, resamples = self._masks(done), self.settings.resamples
            keys = np.unique(np.concatenate([masks.ranked[: masks.main], *masks.controls["damage"][:resamples]]))
            bank, bounds = bank_on(subject, chosen[PICK].without, keys, self.settings.seed, advance)
            return {"keys": keys, "bank": bank, "bounds": bounds}
        windows = dict(_in_steps(chosen[TEST]))[step.name]
        return measure(subject, cells, windows, self._conditions(done), _elsewhere(done), advance)

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        chosen, held_out = results[KEYS], self._windows(subject)[TEST]
        measured = Measured(
            edit=self.settings.part,
            settings=self.settings,
            cells=_cells(subject, chosen),
            windows=(len(held_out.with_concept), len(held_out.without)),
            table=choice.read_keys(subject),
            masks=self._masks(results),
            all_conditions=self._conditions(results),
            means=results[MEANS]["means"],
            centre=results[RANGE]["centre"],
            spread=results[RANGE]["spread"],
            target=float(results[CONTROLS]["damage"]),
            matched=np.array([float(results[name]["damage"]) for name in results if name.startswith(DAMAGE)]),
            parts=[results[name] for name, _ in _in_steps(held_out)],
            all_units=subject.units,
        )
        write_rows(subject, connection, measured)

    def _windows(self, subject: Subject) -> dict[int, Chosen]:
        """Windows of the files that keys are picked on, of those that the dose is chosen on, and of those held out.

        Keys chosen on the files they are then measured on would look better than they are, and so would doses.
        """
        if self._chosen is None:
            concept, _ = choice.read_concepts(subject.connection, self.settings.concept)
            with subject.progress.stage("checking the patterns", None, "patterns") as advance:
                subject.matching.check([concept], subject.store.language_names, advance)
            tokens, names = self.settings.tokens, subject.store.language_names
            mine = tuple(name for name in names if name in concept.patterns)
            budgets = (
                Budget(PICK, tokens // 8, tokens // 2, names),
                Budget(TUNE, tokens // 8, tokens // 6, mine),
                Budget(TEST, tokens // 2, tokens // 2, names),
            )
            self._chosen = {each.part: choose(subject, concept, each, self.settings.seed) for each in budgets}
        return self._chosen

    def _choose_keys(self, subject: Subject) -> Arrays:
        settings = self.settings
        concept, others = choice.read_concepts(subject.connection, settings.concept)
        ranking = choice.rank(subject, settings, choice.read_keys(subject))
        return {
            "ranked": ranking.keys,
            "factors": ranking.factors,
            "doses": np.array(ranking.doses),
            "main": np.array(NONE if ranking.main is None else ranking.main),
            # the concepts as they are now: more may be computed before this edit resumes, but its cells must stay
            "concepts": np.array([each.model_dump_json() for each in (concept, *others)]),
        }

    def _choose_dose(self, subject: Subject, cells: Cells, done: Results, advance: Advance) -> Arrays:
        """The dose that raises the concept's loss most beyond general code's, of those that do little damage there."""
        chosen = done[KEYS]
        tune = self._windows(subject)[TUNE]
        if not self.settings.tunes:
            return {"main": chosen["main"]}
        masks = Masks(chosen["ranked"], chosen["factors"], chosen["doses"].tolist(), NONE, {})
        windows = (*tune.with_concept, *tune.without)
        found = measure(subject, cells, windows, doses(masks), _elsewhere(done), advance)
        rises = (found["sums"][1:] - found["sums"][0])[..., LOSS].sum(axis=2)  # [doses, cells]
        places = found["counts"].sum(axis=1)
        general = rises[:, GENERAL] / places[GENERAL]
        # without the concept in these files, the largest dose that can be afforded
        gains = rises[:, CONCEPT] / places[CONCEPT] - general if places[CONCEPT] else np.arange(len(general))
        afforded = np.where(general <= self.settings.damage, gains, -np.inf)
        best = int(np.argmax(afforded)) if np.isfinite(afforded).any() else 0
        return {"main": chosen["doses"][best]}

    def _choose_controls(self, subject: Subject, cells: Cells, done: Results, advance: Advance) -> Arrays:
        """Random and matched keys for the main dose, and the damage that those matched on damage have to do."""
        settings, table = self.settings, choice.read_keys(subject)
        main = done[KEYS]["ranked"][: int(done[DOSE]["main"])]
        rounds = [choice.matched_controls(table, main, draw, settings.seed) for draw in range(settings.draws)]
        damage = self._general(subject, cells, advance).damage(main, _elsewhere(done), advance)
        return {
            "random": choice.random_controls(table, main, settings.few_draws, settings.seed),
            "matched": _filled([each[0] for each in rounds[: settings.few_draws]]),
            "orders": _filled([np.concatenate(each) for each in rounds]),
            "damage": np.array(damage),
        }

    def _match(self, subject: Subject, cells: Cells, done: Results, draw: int, advance: Advance) -> Arrays:
        """How many keys of one draw do as much damage as the edit; begins with the number of the draw before."""
        controls, elsewhere = done[CONTROLS], _elsewhere(done)
        order = _unfilled(controls["orders"][draw])
        before = f"{DAMAGE}-{draw - 1:04}"
        first = int(done[before]["keys"]) if before in done else int(done[DOSE]["main"])
        general = self._general(subject, cells, advance)
        found = match(
            lambda number: general.damage(order[:number], elsewhere, advance),
            first,
            len(order),
            float(controls["damage"]),
        )
        return {"keys": np.array(found.keys), "damage": np.array(found.damage)}

    def _general(self, subject: Subject, cells: Cells, advance: Advance) -> GeneralCode:
        if self._sample is None:
            self._sample = GeneralCode(subject, cells, self._windows(subject)[TUNE].without, advance)
        return self._sample

    def _masks(self, done: Results) -> Masks:
        chosen, controls = done[KEYS], done[CONTROLS]
        numbers = [int(done[f"{DAMAGE}-{draw:04}"]["keys"]) for draw in range(self.settings.draws)]
        return Masks(
            chosen["ranked"],
            chosen["factors"],
            chosen["doses"].tolist(),
            int(done[DOSE]["main"]),
            {
                "random": list(controls["random"]),
                "matched": [_unfilled(row) for row in controls["matched"]],
                "damage": [row[:number] for row, number in zip(controls["orders"], numbers, strict=True)],
            },
        )

    def _conditions(self, done: Results) -> list[Condition]:
        masks, taken = self._masks(done), done[RANGE]
        centre, reach = taken["centre"][: masks.main], self.settings.tau * taken["spread"][: masks.main]
        return conditions(masks, (centre - reach, centre + reach), self.settings.resamples, self.settings.seed)


def _elsewhere(done: Results) -> Elsewhere:
    bank = done.get(BANK) or {"keys": np.zeros(0, np.int64), "bank": np.zeros((0, 0)), "bounds": np.zeros((0, 2))}
    return Elsewhere(done[MEANS]["means"], bank["keys"], bank["bank"], bank["bounds"])


def _cells(subject: Subject, chosen: Arrays) -> Cells:
    concept, *others = (Concept.model_validate_json(text) for text in chosen["concepts"].tolist())
    return Cells(concept, tuple(others), subject.store.language_names)


def _filled(rows: Sequence[IntArray]) -> IntArray:
    table = np.full((len(rows), max(map(len, rows))), NONE, dtype=np.int64)
    for row, keys in zip(table, rows, strict=True):
        row[: len(keys)] = keys
    return table


def _unfilled(row: IntArray) -> IntArray:
    kept: IntArray = row[row != NONE]
    return kept


def _in_steps(chosen: Chosen) -> Iterator[tuple[str, tuple[Window, ...]]]:
    for name, windows in (("with", chosen.with_concept), ("without", chosen.without)):
        for start in range(0, len(windows), WINDOWS_PER_STEP):
            yield f"{name}-{start // WINDOWS_PER_STEP:05}", windows[start : start + WINDOWS_PER_STEP]


def _step(name: str, windows: Sequence[Window]) -> Step:
    files = sorted({window.file for window in windows})
    return Step(name, files, sum(window.length - window.burn_in for window in windows))
