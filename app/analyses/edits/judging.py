"""Judges edits: by the one endpoint that is registered, corrected for a run's other edits, and measure by measure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb

from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Contrast, Control, Edit, Effect
from keyscope.app.queries.estimate import Estimate

LEVEL = 0.05
WORSE = {"accuracy": -1, "loss": 1, "rank": 1, "kl": 1}
"""Sign of a change for the worse, by measure."""
WAYS = {"mean": "dose", "resample": "resample"}
"""Operations that a verdict rests on, with the role of the edit's condition."""
Conclusion = Literal["selective", "not selective", "inconclusive", "too few projects", "not measured"]


@dataclass(frozen=True, slots=True)
class Way:
    """An edit masked in one way, by one measure, beside controls masked in the same way."""

    concept: Effect
    general: Effect | None
    """In windows without the concept, in its languages; None if there are none."""
    control: Control | None
    """Keys that do as much damage to general code."""
    contrast: Contrast | None
    """The concept's places compared with those windows."""

    @property
    def beats_controls(self) -> bool:
        """Worse than with those keys: the interval excludes 0, and hardly any draw does as much harm."""
        return self.control is not None and _beats(self.control)

    @property
    def beats_general(self) -> bool:
        """Worse than in code without the concept: the interval of the difference excludes 0."""
        return self.contrast is not None and _worse(self.contrast.difference, self.contrast.measure)


@dataclass(frozen=True, slots=True)
class Judgement:
    """An edit judged by one measure, in every way that a verdict rests on."""

    measure: str
    ways: Mapping[str, Way]
    """By operation; none in an edit that only scaled coefficients."""

    @property
    def beats_controls(self) -> bool:
        """Whether the concept suffers more than from equally damaging masks, in every way."""
        return bool(self.ways) and all(way.beats_controls for way in self.ways.values())

    @property
    def beats_general(self) -> bool:
        """Whether the concept suffers more than code without it, in every way."""
        return bool(self.ways) and all(way.beats_general for way in self.ways.values())

    @property
    def selective(self) -> bool:
        """Whether both hold."""
        return self.beats_controls and self.beats_general


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the registered endpoint says of an edit."""

    conclusion: Conclusion
    endpoint: Estimate | None
    """The concept's rise of loss beyond that with equally damaging masks, in nats; None in an older edit."""
    p: float | None
    """Two-sided, of this edit alone."""
    corrected: float | None
    """The same after Holm over the run's edits."""
    edits: int
    """Edits of the run that were tested."""
    detectable: float | None
    """Endpoint that would be found with probability 0.8, in nats."""


def judge(cursor: duckdb.DuckDBPyConnection, edit: Edit, measure: str) -> Judgement:
    """Judge an edit by one measure."""
    effects = {
        (effect.operation, effect.group, effect.name): effect
        for effect in queries.effects(cursor, edit.edit, *WAYS.values())
        if effect.main
    }
    controls = {
        each.operation: each
        for each in queries.controls(cursor, edit.edit)
        if (each.group, each.measure, each.control) == ("concept", measure, "damage")
    }
    contrasts = {(each.condition, each.against, each.measure): each for each in queries.contrasts(cursor, edit.edit)}
    ways = {}
    for operation in WAYS:
        concept, general = (effects.get((operation, group, "")) for group in ("concept", "general"))
        if concept is not None:
            ways[operation] = Way(
                concept=concept,
                general=general if general and general.places else None,
                control=controls.get(operation),
                contrast=contrasts.get((concept.condition, "general", measure)),
            )
    return Judgement(measure, ways)


def verdicts(cursor: duckdb.DuckDBPyConnection, edits: Sequence[Edit]) -> list[Verdict]:
    """The verdict on each of these edits; p is corrected for all edits of the run."""
    tested = {each.edit: each.primary_p for each in queries.list_edits(cursor) if each.primary_p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [_verdict(cursor, each, corrected.get(each.edit), len(tested)) for each in edits]


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for being several, each at most 1 (Holm 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found, largest = [1.0] * len(ps), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[at]))
        found[at] = largest
    return found


def _verdict(cursor: duckdb.DuckDBPyConnection, edit: Edit, corrected: float | None, edits: int) -> Verdict:
    endpoint = queries.primary(cursor, edit.edit)
    if endpoint is None:
        return Verdict("not measured", None, None, None, edits, None)
    conclusion = _conclusion(cursor, edit, endpoint, corrected)
    return Verdict(conclusion, endpoint, edit.primary_p, corrected, edits, edit.detectable)


def _conclusion(
    cursor: duckdb.DuckDBPyConnection, edit: Edit, endpoint: Estimate, corrected: float | None
) -> Conclusion:
    if endpoint.few:
        return "too few projects"
    if corrected is None or corrected > LEVEL:
        return "inconclusive"
    if endpoint.value < 0:
        return "not selective"
    # a mean is what the key rarely is, so the same must hold with coefficients that occur
    return "selective" if judge(cursor, edit, "loss").selective else "inconclusive"


def _beats(control: Control) -> bool:
    # with few draws the smallest possible p counts as rare, otherwise no edit could pass
    rare = control.p <= max(LEVEL, 1 / (1 + control.draws))
    return rare and _worse(control.excess, control.measure)


def _worse(difference: Estimate | None, measure: str) -> bool:
    """Whether the whole interval is on the worse side of 0."""
    if difference is None:
        return False
    return difference.below(0) if WORSE[measure] < 0 else difference.above(0)
