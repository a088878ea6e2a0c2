"""The JSON API of edits: what masking a concept's keys did to it and to everything else."""

from dataclasses import asdict
from typing import Annotated, Any

import duckdb
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keyscope.app.analyses.edits import judging
from keyscope.app.analyses.edits.recipe import recipe_of
from keyscope.app.analyses.edits.sections import conclusion
from keyscope.app.analyses.shapes import numbers
from keyscope.app.queries import edits as queries
from keyscope.app.web import shapes as models
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.contract.analyses.edit import CHANGED, MEASURES
from keyscope.contract.keys import Mask
from keyscope.contract.recipes import Recipe

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
    role: str = Field(description="baseline, dose, range, zero or resample")
    operation: str | None = Field(
        description="What became of the coefficients: scale, mean or resample; null without a mask, and in edits that only scaled"
    )
    main: bool
    keys: int
    group: str = Field(description="concept, near, general or collateral")
    name: str = Field(description="Language or other concept; empty for all")
    places: int
    files: int
    measures: dict[str, ChangeShape] = Field(
        description="accuracy, loss in nats, the true token's rank, and KL from the baseline in nats"
    )

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
    control: str = Field(description="damage (as damaging to general code), matched or random")
    operation: str | None = Field(description="mean or resample; null in edits that only scaled")
    measure: str = Field(description="accuracy, loss, rank or kl; changes of rank are logarithms here")
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

    beats_controls: bool = Field(
        description="Worse than with equally damaging keys masked, with mean and with resampled coefficients"
    )
    beats_general: bool = Field(description="Worse than in code without the concept, with both")
    selective: bool = Field(description="Both")


class VerdictShape(models.Shape):
    """What the registered endpoint says: the concept's rise of loss beyond that with equally damaging masks, in nats."""

    conclusion: judging.Conclusion
    endpoint: float | None = Field(description="null in an edit that only scaled coefficients")
    low: float | None = Field(description="Lower end of its 95 % interval, over projects and the controls' draws")
    high: float | None
    places: int
    files: int
    projects: int | None = Field(description="null if the interval is over files")
    p: float | None = Field(description="Two-sided, of this edit alone")
    corrected: float | None = Field(description="After Holm over the run's edits")
    edits: int = Field(description="Edits of the run that were tested")
    detectable: float | None = Field(description="Endpoint that would be found with probability 0.8")
    text: str = Field(description="The verdict as a sentence")

    @classmethod
    def of(cls, edit: queries.Edit, found: judging.Verdict) -> "VerdictShape":
        endpoint = found.endpoint
        return cls(
            conclusion=found.conclusion,
            **numbers(endpoint, "endpoint", "low", "high"),
            places=endpoint.n if endpoint else 0,
            files=endpoint.files if endpoint else 0,
            projects=endpoint.projects if endpoint else None,
            p=found.p,
            corrected=found.corrected,
            edits=found.edits,
            detectable=found.detectable,
            text=conclusion(edit, found),
        )


class SiteShape(models.Shape):
    """A place of the concept; changes of the loss are those of the log probability with the other sign."""

    language: str
    project: str
    path: str
    line: int = Field(description="From 1")
    column: int = Field(description="In characters, from 0")
    token: str
    loss: float = Field(description="−log probability in nats, unmasked")
    loss_mean: float = Field(description="Change with the keys at their means")
    loss_zero: float = Field(description="Change with their coefficients scaled by the edit's factor")
    loss_resample: float = Field(description="Change with coefficients from random places")
    kl: float = Field(description="KL from the unmasked prediction with the keys at their means, in nats")
    right: bool = Field(description="Whether the token was the most probable one")
    right_mean: bool = Field(description="Whether it still is with the keys at their means")
    coefficient: float = Field(description="Of the edit's first key where the token is predicted")


class SitesAnswer(BaseModel):
    """Places of the concept, those that lose most first."""

    ok: bool = True
    total: int
    sites: list[SiteShape]


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
    resamples: int | None = Field(description="Draws of places to resample from; null in edits that only scaled")
    chosen: bool | None = Field(description="Whether the main dose was chosen on files of its own")
    damage: float | None = Field(description="Rise of general code's loss that controls were matched on, in nats")
    masks: list[Mask] = Field(description="The keys of the main dose, with the edit's factor")
    verdict: VerdictShape
    judgements: dict[str, JudgementShape] = Field(description="By measure, for exploration")
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
    found = queries.get_edit(cursor, edit)
    (verdict,) = judging.verdicts(cursor, [found])
    return EditAnswer(edit=_shape(cursor, found, verdict))


@router.get("/runs/{run}/edits/{edit}/sites", responses=models.OF_A_RUN)
def list_sites(
    run: OpenRun,
    cursor: Cursor,
    edit: str,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> SitesAnswer:
    """What an edit does at every single place of its concept."""
    found = queries.get_edit(cursor, edit)
    sites = queries.sites(cursor, found.edit, limit, offset)
    return SitesAnswer(
        total=queries.count_sites(cursor, found.edit), sites=[SiteShape(**asdict(each)) for each in sites]
    )


@router.get("/runs/{run}/edits/{edit}/recipe.json", name="edit_recipe", responses=models.OF_A_RUN)
def show_recipe(run: OpenRun, cursor: Cursor, edit: str) -> Recipe:
    """Everything that determines an edit, to compute it again with `keyscope replay`."""
    return recipe_of(run, cursor, queries.get_edit(cursor, edit))


def edits_of(cursor: duckdb.DuckDBPyConnection, concept: str | None) -> list[EditShape]:
    """The edits of a concept, or of all."""
    found = queries.list_edits(cursor, concept)
    return [_shape(cursor, *each) for each in zip(found, judging.verdicts(cursor, found), strict=True)]


def _shape(cursor: duckdb.DuckDBPyConnection, edit: queries.Edit, verdict: judging.Verdict) -> EditShape:
    fields: dict[str, Any] = {name: getattr(edit, name) for name in EditShape.model_fields if hasattr(edit, name)}
    return EditShape(
        **fields,
        masks=queries.masks(cursor, edit),
        verdict=VerdictShape.of(edit, verdict),
        judgements={
            measure: JudgementShape.model_validate(judging.judge(cursor, edit, measure)) for measure in MEASURES
        },
        effects=[EffectShape.of(each) for each in queries.effects(cursor, edit.edit, "baseline", *CHANGED)],
        controls=[
            ControlShape(**asdict(each) | numbers(each.excess, "excess", "excess_low", "excess_high"))
            for each in queries.controls(cursor, edit.edit)
        ],
        contrasts=[
            ContrastShape(**asdict(each) | numbers(each.difference, "difference", "low", "high"))
            for each in queries.contrasts(cursor, edit.edit)
        ],
    )
