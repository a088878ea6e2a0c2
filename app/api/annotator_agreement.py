"""How far people agree on a model's keys, how far they are, and where they disagree."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keyscope.app.api.comments import AdjudicationShape
from keyscope.app.labels import adjudication
from keyscope.app.labels import annotator_agreement as agreement
from keyscope.app.labels.models import Kind
from keyscope.app.labels.statistics import Statistic, Undefined
from keyscope.app.web import shapes as models
from keyscope.app.web.dependencies import LabelsDatabase, OpenRun

READING = models.OF_A_RUN | models.failures(503)
router = APIRouter(tags=["agreement"])


class StatisticShape(BaseModel):
    """A statistic, its 95 % bootstrap interval over keys, and the keys it rests on."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = Field(description="Why it is not defined, where it is not")

    @classmethod
    def of(cls, estimate: Statistic) -> "StatisticShape":
        """The shape of an estimate."""
        reason = estimate.reason if isinstance(estimate, Undefined) else None
        return cls(value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n, reason=reason)


class PairShape(BaseModel):
    """Two people."""

    first: str
    second: str
    kappa: StatisticShape = Field(description="Cohen's, unweighted, over the keys both labelled")


class ProgressShape(BaseModel):
    """How far a layer is."""

    layer: int
    n_keys: int
    labelled: int
    by_person: dict[str, int]
    kinds: dict[Kind, int] = Field(description="Current labels by kind")


class AgreementAnswer(BaseModel):
    """What the current labels of a run's weights come to."""

    ok: Literal[True] = True
    people: list[str]
    n_keys: int = Field(description="Keys with a label")
    n_labels: int
    pairs: list[PairShape] = Field(description=f"At most {agreement.MOST_PAIRS}, those with most keys in common first")
    n_pairs: int = Field(description="Pairs with keys in common")
    fleiss: StatisticShape = Field(description="Over the keys that everybody labelled")
    alpha: StatisticShape = Field(description="Krippendorff's, nominal, over the keys with two labels or more")
    layers: list[ProgressShape]


class DisagreementShape(BaseModel):
    """A key with labels of several kinds."""

    key: str
    labels: dict[str, Kind] = Field(description="By person")
    adjudication: AdjudicationShape | None


class DisagreementsAnswer(BaseModel):
    """Keys that people disagree about, by key."""

    ok: Literal[True] = True
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
    said = database.read(lambda session: agreement.load(session, model.weights_sha256))
    pairs, n_pairs = agreement.pairs(said)
    kinds = agreement.kinds_by_layer(said, model.n_layers)
    return AgreementAnswer(
        people=list(said.people),
        n_keys=len(said.keys),
        n_labels=said.n_labels,
        pairs=[PairShape(first=each.first, second=each.second, kappa=StatisticShape.of(each.kappa)) for each in pairs],
        n_pairs=n_pairs,
        fleiss=StatisticShape.of(agreement.fleiss(said, person)),
        alpha=StatisticShape.of(agreement.alpha(said, person)),
        layers=[
            ProgressShape(
                layer=layer.layer,
                n_keys=layer.n_keys,
                labelled=layer.labelled,
                by_person=dict(zip(said.people, layer.by_person, strict=True)),
                kinds=counted.counts,
            )
            for layer, counted in zip(agreement.progress(said, model.keys_per_layer), kinds, strict=True)
        ],
    )


@router.get("/runs/{run}/labels/disagreements", responses=READING)
def show_disagreements(
    run: OpenRun,
    database: LabelsDatabase,
    open: Annotated[bool, Query(description="Only those on which nobody has decided")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> DisagreementsAnswer:
    """Keys whose current labels are of several kinds."""
    weights = run.manifest.model.weights_sha256
    found = database.read(
        lambda session: adjudication.disagreements(session, weights, agreement.load(session, weights))
    )
    wanted = [each for each in found if not (open and each.decision)]
    return DisagreementsAnswer(
        total=len(wanted),
        disagreements=[
            DisagreementShape(
                key=str(each.key),
                labels=dict(each.labels),
                adjudication=AdjudicationShape.of(each.decision) if each.decision else None,
            )
            for each in wanted[offset : offset + limit]
        ],
    )
