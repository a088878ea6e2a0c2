"""Edits: what masking a concept's keys did to it and to everything else, as numbers."""

from typing import Annotated, Any

import duckdb
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from keyscope.app.analyses.edits import judging as edits
from keyscope.app.queries import edits as queries
from keyscope.app.web import shapes as models
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.contract.analyses.edit import MEASURES
from keyscope.contract.keys import Mask

router = APIRouter(tags=["edits"])


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


class ChangeShape(_Shape):
    """A measure with what masking did to it; null where nothing was predicted."""

    level: float | None
    change: float | None = Field(description="Less that of the baseline; of rank, over it")
    low: float | None = Field(description="Lower end of the change's 95 % interval, by bootstrap over files")
    high: float | None


class EffectShape(_Shape):
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


class ControlShape(_Shape):
    """Where an edit stands among other keys masked instead."""

    group: str
    name: str
    control: str = Field(description="random or matched")
    measure: str = Field(description="accuracy, loss, or rank, whose changes are logarithms here")
    draws: int
    mean: float
    deviation: float
    smallest: float
    largest: float
    z: float | None
    p: float = Field(description="Share of the draws, the edit among them, that do as much harm")
    excess: float = Field(description="The edit's change less the mean change of the controls")
    excess_low: float | None = Field(description="Lower end of its 95 % interval; none with too few files for one")
    excess_high: float | None


class ContrastShape(_Shape):
    """A change at the concept's places less the change elsewhere."""

    condition: int
    against: str
    measure: str
    difference: float | None
    low: float | None
    high: float | None


class JudgementShape(_Shape):
    """What one measure says."""

    beats_controls: bool = Field(description="Worse than with either kind of other keys masked")
    beats_general: bool = Field(description="Worse than in code without the concept")
    selective: bool = Field(description="Both")


class EditShape(_Shape):
    """One edit."""

    edit: str
    concept: str = Field(description="Name and the start of the definition's sha256")
    title: str
    languages: list[str]
    picker: str
    factor: float | None = Field(description="null where a basket has several")
    share: float | None
    keys: int
    draws: int
    windows: int
    general_windows: int
    masks: list[Mask] = Field(description="Of the main dose")
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
    """Edits that have been measured, of one concept or of all."""
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
        judgements={measure: JudgementShape.model_validate(edits.judge(cursor, edit, measure)) for measure in MEASURES},
        effects=[
            EffectShape.model_validate(each) for each in queries.effects(cursor, edit.edit, "baseline", "dose", "range")
        ],
        controls=[ControlShape.model_validate(each) for each in queries.controls(cursor, edit.edit)],
        contrasts=[ContrastShape.model_validate(each) for each in queries.contrasts(cursor, edit.edit)],
    )
