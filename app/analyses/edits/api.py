"""The JSON API of edits: what masking a concept's keys did to it and to everything else."""

from dataclasses import asdict
from typing import Annotated, Any

import duckdb
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keyscope.app.analyses.edits import judging
from keyscope.app.analyses.shapes import numbers
from keyscope.app.queries import edits as queries
from keyscope.app.web import shapes as models
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.contract.analyses.edit import MEASURES
from keyscope.contract.keys import Mask

router = APIRouter(tags=["edits"], route_class=RunRoute)


class ChangeShape(models.Shape):
    """A measure and what masking did to it; null if nothing was predicted."""

    level: float | None
    change: float | None = Field(description="Minus the baseline; for rank, divided by it")
    low: float | None = Field(description="Lower end of the change's 95 % interval, over projects")
    high: float | None


class EffectShape(models.Shape):
    """One group of places under one condition."""

    condition: int
    role: str = Field(description="baseline, dose or range")
    main: bool
    keys: int
    group: str = Field(description="concept, near, general or collateral")
    name: str = Field(description="Language or other concept; empty for all")
    places: int
    files: int
    measures: dict[str, ChangeShape] = Field(description="accuracy, loss in nats, and the true token's rank")

    @classmethod
    def of(cls, found: queries.Effect) -> "EffectShape":
        fields: dict[str, Any] = {name: getattr(found, name) for name in cls.model_fields if name != "measures"}
        measures = {
            name: ChangeShape(level=level, **numbers(found.changes.get(name), "change", "low", "high"))
            for name, level in found.levels.items()
        }
        return cls(**fields, measures=measures)


class ControlShape(models.Shape):
    """An edit beside masks of other keys."""

    group: str
    name: str
    control: str = Field(description="random or matched")
    measure: str = Field(description="accuracy, loss, or rank; changes of rank are logarithms here")
    draws: int
    mean: float
    deviation: float
    smallest: float
    largest: float
    z: float | None
    p: float = Field(description="Share of the draws, the edit among them, that do as much harm")
    excess: float = Field(description="The edit's change minus the mean change of the controls")
    excess_low: float | None = Field(description="Lower end of its 95 % interval; null with too few files for one")
    excess_high: float | None


class ContrastShape(models.Shape):
    """The change at the concept's places minus the change elsewhere."""

    condition: int
    against: str
    measure: str
    difference: float | None
    low: float | None
    high: float | None


class JudgementShape(models.Shape):
    """An edit judged by one measure."""

    beats_controls: bool = Field(description="Worse than with either kind of other keys masked")
    beats_general: bool = Field(description="Worse than in code without the concept")
    selective: bool = Field(description="Both")


class EditShape(models.Shape):
    """One edit."""

    edit: str
    concept: str = Field(description="Name and the start of the definition's sha256")
    title: str
    languages: list[str]
    picker: str
    factor: float | None = Field(description="null if the basket has several")
    share: float | None
    keys: int
    draws: int
    windows: int
    general_windows: int
    masks: list[Mask] = Field(description="The keys of the main dose")
    judgements: dict[str, JudgementShape] = Field(description="By measure")
    effects: list[EffectShape]
    controls: list[ControlShape]
    contrasts: list[ContrastShape]


class EditsAnswer(BaseModel):
    """Edits of a run."""

    ok: bool = True
    edits: list[EditShape]


class EditAnswer(BaseModel):
    """One edit of a run."""

    ok: bool = True
    edit: EditShape


@router.get("/runs/{run}/edits", responses=models.OF_A_RUN)
def list_edits(
    run: OpenRun,
    cursor: Cursor,
    concept: Annotated[str | None, Query(description="Name and the start of the definition's sha256")] = None,
) -> EditsAnswer:
    """The edits that were measured, for one concept or for all."""
    return EditsAnswer(edits=edits_of(cursor, concept))


@router.get("/runs/{run}/edits/{edit}", responses=models.OF_A_RUN)
def show_edit(run: OpenRun, cursor: Cursor, edit: str) -> EditAnswer:
    """One edit."""
    return EditAnswer(edit=_shape(cursor, queries.get_edit(cursor, edit)))


def edits_of(cursor: duckdb.DuckDBPyConnection, concept: str | None) -> list[EditShape]:
    """The edits of a concept, or of all."""
    return [_shape(cursor, edit) for edit in queries.list_edits(cursor, concept)]


def _shape(cursor: duckdb.DuckDBPyConnection, edit: queries.Edit) -> EditShape:
    fields: dict[str, Any] = {name: getattr(edit, name) for name in EditShape.model_fields if hasattr(edit, name)}
    return EditShape(
        **fields,
        masks=queries.masks(cursor, edit),
        judgements={
            measure: JudgementShape.model_validate(judging.judge(cursor, edit, measure)) for measure in MEASURES
        },
        effects=[EffectShape.of(each) for each in queries.effects(cursor, edit.edit, "baseline", "dose", "range")],
        controls=[
            ControlShape(**asdict(each) | numbers(each.excess, "excess", "excess_low", "excess_high"))
            for each in queries.controls(cursor, edit.edit)
        ],
        contrasts=[
            ContrastShape(**asdict(each) | numbers(each.difference, "difference", "low", "high"))
            for each in queries.contrasts(cursor, edit.edit)
        ],
    )
