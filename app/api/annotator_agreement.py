"""Annotator agreement on a model's keys: statistics, progress and disagreements."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keyscope.app.api.comments import AdjudicationShape
from keyscope.app.labels import adjudication
from keyscope.app.labels import annotator_agreement as agreement
from keyscope.app.labels.models import Kind
from keyscope.app.labels.statistics import Statistic, Undefined, reading
from keyscope.app.web import shapes
from keyscope.app.web.dependencies import LabelsDatabase, OpenRun

READING = shapes.OF_A_RUN | shapes.failures(503)
router = APIRouter(tags=["agreement"])


class StatisticShape(BaseModel):
    """A statistic, its 95 % bootstrap interval over keys, and the number of keys it rests on."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = Field(description="Why it is undefined; null if it is defined")
    reading: str = Field(description="Its band of Landis and Koch (1977), and whether its keys are too few")

    @classmethod
    def of(cls, estimate: Statistic) -> "StatisticShape":
        reason = estimate.reason if isinstance(estimate, Undefined) else None
        return cls(
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n,
            reason=reason,
            reading=reading(estimate),
        )


class PairShape(BaseModel):
    """The agreement of two people."""

    first: str
    second: str
    kappa: StatisticShape = Field(description="Unweighted Cohen's kappa over the keys both labelled")


class ProgressShape(BaseModel):
    """Labelling progress of a layer."""

    layer: int
    n_keys: int
    labelled: int
    by_person: dict[str, int]
    kinds: dict[Kind, int] = Field(description="Current labels by kind")


class AgreementAnswer(shapes.Answer):
    """Agreement and progress of the current labels of a run's weights."""

    people: list[str]
    n_keys: int = Field(description="Keys with a label")
    n_labels: int
    pairs: list[PairShape] = Field(
        description=f"At most {agreement.MOST_PAIRS}, the pairs with the most keys in common first"
    )
    n_pairs: int = Field(description="Pairs with keys in common")
    fleiss: StatisticShape = Field(description="Over the keys that everybody labelled")
    alpha: StatisticShape = Field(description="Nominal Krippendorff's alpha over the keys with at least two labels")
    layers: list[ProgressShape]


class DisagreementShape(BaseModel):
    """A key with labels of different kinds."""

    key: str
    labels: dict[str, Kind] = Field(description="By person")
    adjudication: AdjudicationShape | None


class DisagreementsAnswer(shapes.Answer):
    """Keys that people disagree about, by layer and index."""

    total: int
    disagreements: Sequence[DisagreementShape]


@router.get("/runs/{run}/labels/agreement", responses=READING)
def show_label_agreement(
    run: OpenRun,
    database: LabelsDatabase,
    person: Annotated[
        list[str] | None, Query(description="Only these people in Fleiss' kappa and Krippendorff's alpha")
    ] = None,
) -> AgreementAnswer:
    """Agreement and progress of the current labels."""
    model = run.manifest.model
    current = database.read(lambda session: agreement.load(session, model.weights_sha256))
    pairs, n_pairs = agreement.pairs(current)
    kinds = agreement.kinds_by_layer(current, model)
    return AgreementAnswer(
        people=list(current.people),
        n_keys=len(current.keys),
        n_labels=current.n_labels,
        pairs=[PairShape(first=each.first, second=each.second, kappa=StatisticShape.of(each.kappa)) for each in pairs],
        n_pairs=n_pairs,
        fleiss=StatisticShape.of(agreement.fleiss(current, person)),
        alpha=StatisticShape.of(agreement.alpha(current, person)),
        layers=[
            ProgressShape(
                layer=layer.layer,
                n_keys=layer.n_keys,
                labelled=layer.labelled,
                by_person=dict(zip(current.people, layer.by_person, strict=True)),
                kinds=counted.counts,
            )
            for layer, counted in zip(agreement.progress(current, model), kinds, strict=True)
        ],
    )


@router.get("/runs/{run}/labels/disagreements", responses=READING)
def show_disagreements(
    run: OpenRun,
    database: LabelsDatabase,
    undecided: Annotated[bool, Query(alias="open", description="Only those on which nobody has decided")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> DisagreementsAnswer:
    """Keys whose current labels are of different kinds."""
    weights = run.manifest.model.weights_sha256
    found = database.read(
        lambda session: adjudication.disagreements(session, weights, agreement.load(session, weights))
    )
    wanted = [each for each in found if not (undecided and each.decision)]
    return DisagreementsAnswer(
        total=len(wanted),
        disagreements=[
            DisagreementShape(
                key=str(each.key),
                labels=dict(each.labels),
                adjudication=AdjudicationShape.model_validate(each.decision, from_attributes=True)
                if each.decision
                else None,
            )
            for each in wanted[offset : offset + limit]
        ],
    )
