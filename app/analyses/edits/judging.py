"""Judges an edit: does it harm the concept more than masks of other keys do, and more than code without it?"""

from dataclasses import dataclass

import duckdb

from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Contrast, Control, Edit, Effect
from keyscope.app.queries.estimate import Estimate

LEVEL = 0.05
WORSE = {"accuracy": -1, "loss": 1, "rank": 1}
"""Sign of a change for the worse, by measure."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """An edit judged by one measure."""

    measure: str
    concept: Effect
    general: Effect | None
    """In windows without the concept, in its languages; None if there are none."""
    controls: list[Control]
    contrast: Contrast | None
    """The concept's places compared with those windows."""
    beats_controls: bool
    """Worse than with either kind of other keys: the interval of the difference excludes 0, and hardly any draw does as
    much harm."""
    beats_general: bool
    """Worse than in code without the concept: the interval of the difference excludes 0."""

    @property
    def decided(self) -> bool:
        """Whether all it rests on has intervals over enough projects for a verdict."""
        rests_on = [*(each.excess for each in self.controls), self.contrast and self.contrast.difference]
        return bool(self.controls) and all(each and each.high is not None and not each.few for each in rests_on)

    @property
    def selective(self) -> bool:
        """Whether the edit harms the concept more than either comparison does."""
        return self.beats_controls and self.beats_general


def main_effects(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> list[Effect]:
    """Every group of places at the main dose."""
    return [effect for effect in queries.effects(cursor, edit.edit, "dose") if effect.main]


def judge(cursor: duckdb.DuckDBPyConnection, edit: Edit, measure: str) -> Judgement:
    """Judge an edit by one measure."""
    effects = {(effect.group, effect.name): effect for effect in main_effects(cursor, edit)}
    concept, general = effects["concept", ""], effects.get(("general", ""))
    controls = [
        each for each in queries.controls(cursor, edit.edit) if (each.group, each.measure) == ("concept", measure)
    ]
    contrasts = {(each.condition, each.against, each.measure): each for each in queries.contrasts(cursor, edit.edit)}
    contrast = contrasts.get((concept.condition, "general", measure))
    return Judgement(
        measure=measure,
        concept=concept,
        general=general if general and general.places else None,
        controls=controls,
        contrast=contrast,
        beats_controls=bool(controls) and all(_beats(each) for each in controls),
        beats_general=contrast is not None and _worse(contrast.difference, measure),
    )


def _beats(control: Control) -> bool:
    # with few draws the smallest possible p counts as rare, otherwise no edit could pass
    rare = control.p <= max(LEVEL, 1 / (1 + control.draws))
    return rare and _worse(control.excess, control.measure)


def _worse(difference: Estimate | None, measure: str) -> bool:
    """Whether the whole interval is on the worse side of 0."""
    if difference is None:
        return False
    return difference.below(0) if WORSE[measure] < 0 else difference.above(0)
