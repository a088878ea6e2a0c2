"""Judging an edit: did the concept fall more than with other keys masked, and more than code without it?"""

from dataclasses import dataclass

import duckdb

from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Change, Contrast, Control, Edit, Effect

LEVEL = 0.05
WORSE = {"accuracy": -1, "loss": 1, "rank": 1}
"""Which way each measure goes when predictions become worse."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one measure says of an edit."""

    measure: str
    concept: Change
    general: Change | None
    """In windows without the concept, in its languages; None where there are none."""
    controls: list[Control]
    contrast: Contrast | None
    """The concept's places against those windows."""
    beats_controls: bool
    """Worse than with either kind of other keys: the interval of the difference is apart from 0, and hardly any draw
    does as much harm."""
    beats_general: bool
    """Worse than in code without the concept: the interval of the difference is apart from 0."""

    @property
    def selective(self) -> bool:
        """The concept falls more than with other keys masked, and more than other code does."""
        return self.beats_controls and self.beats_general


def main_effects(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> list[Effect]:
    """Every group of places at the main dose."""
    return [effect for effect in queries.effects(cursor, edit.edit, "dose") if effect.main]


def judge(cursor: duckdb.DuckDBPyConnection, edit: Edit, measure: str) -> Judgement:
    """What a measure says of an edit."""
    effects = {(effect.group, effect.name): effect for effect in main_effects(cursor, edit)}
    concept, general = effects["concept", ""], effects.get(("general", ""))
    controls = [
        each for each in queries.controls(cursor, edit.edit) if (each.group, each.measure) == ("concept", measure)
    ]
    contrast = next(
        (
            each
            for each in queries.contrasts(cursor, edit.edit)
            if (each.condition, each.against, each.measure) == (concept.condition, "general", measure)
        ),
        None,
    )
    return Judgement(
        measure=measure,
        concept=concept.measures[measure],
        general=general.measures[measure] if general and general.places else None,
        controls=controls,
        contrast=contrast,
        beats_controls=bool(controls) and all(_beats(each) for each in controls),
        beats_general=contrast is not None and _apart(contrast.low, contrast.high, measure),
    )


def _beats(control: Control) -> bool:
    # with few draws the least p there is counts, for no edit could have a smaller one
    rare = control.p <= max(LEVEL, 1 / (1 + control.draws))
    return rare and _apart(control.excess_low, control.excess_high, control.measure)


def _apart(low: float | None, high: float | None, measure: str) -> bool:
    """Is the whole interval on the worse side of 0?"""
    if low is None or high is None:
        return False
    return high < 0 if WORSE[measure] < 0 else low > 0
