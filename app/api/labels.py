"""Labels of keys: read, given, taken back and exported."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api import models, shapes
from app.dependencies import Key, LabelsDatabase, OpenRun
from app.errors import InvalidParameter
from app.exports import MEDIA_TYPES, Sheet, respond
from app.labels import repository
from app.labels.models import Evidence, Kind, Label
from app.labels.people import person_name
from app.labels.repository import Judgement, Target

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
EXPORT_COLUMNS = {
    "id": "BIGINT",
    "person": "VARCHAR",
    "key": "VARCHAR",
    "layer": "INTEGER",
    "index": "INTEGER",
    "current": "BOOLEAN",
    "kind": "VARCHAR",
    "description": "VARCHAR",
    "confidence": "DOUBLE",
    "tags": "VARCHAR[]",
    "evidence": 'STRUCT(file_sha256 VARCHAR, "offset" BIGINT)[]',
    "weights_sha256": "VARCHAR",
    "created_at": "TIMESTAMPTZ",
    "superseded_at": "TIMESTAMPTZ",
    "retracted": "BOOLEAN",
}

WRITING = models.OF_A_RUN | models.failures(403, 503)
router = APIRouter(tags=["labels"])


class LabelBody(BaseModel):
    """A label as a person gives it."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    description: str = Field("", max_length=4000)
    confidence: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    evidence: list[Evidence] = Field(default_factory=list, max_length=200)


class LabelsAnswer(BaseModel):
    """The labels of a key."""

    ok: Literal[True] = True
    key: str
    labels: list[models.LabelShape] = Field(description="Everyone's current label")
    history: list[models.LabelShape] = Field(description="Every label there ever was, the latest first")


class LabelAnswer(BaseModel):
    """A label just given."""

    ok: Literal[True] = True
    label: models.LabelShape


class Done(BaseModel):
    """It is done."""

    ok: Literal[True] = True


def _person(
    x_keyscope_person: Annotated[str | None, Header(description="Who gives the label; UTF-8")] = None,
) -> str:
    if x_keyscope_person is None:
        raise InvalidParameter("a label needs a person: send your name in the header X-Keyscope-Person")
    return person_name(_utf8(x_keyscope_person))


def _target(run: OpenRun, key: Key) -> Target:
    return Target(run.manifest.model.weights_sha256, key)


Person = Annotated[str, Depends(_person)]
LabelledKey = Annotated[Target, Depends(_target)]


@router.get("/runs/{run}/keys/{key}/labels", responses=models.OF_A_RUN | models.failures(503))
def show_labels(target: LabelledKey, database: LabelsDatabase) -> LabelsAnswer:
    """Everyone's labels of a key, for the weights of this run."""
    with database.transaction() as session:
        labels = [shapes.label(each) for each in repository.history(session, target)]
    current = sorted((label for label in labels if label.current), key=lambda label: label.person)
    return LabelsAnswer(key=str(target.key), labels=current, history=labels)


@router.put("/runs/{run}/keys/{key}/labels", responses=WRITING)
def put_label(target: LabelledKey, body: LabelBody, person: Person, database: LabelsDatabase) -> LabelAnswer:
    """Give a label; it replaces the person's earlier one, which stays in the history."""
    judgement = Judgement(
        kind=body.kind,
        description=body.description,
        confidence=body.confidence,
        tags=list(dict.fromkeys(body.tags)),
        evidence=body.evidence,
    )
    label = database.write(lambda session: repository.put_label(session, target, person, judgement))
    return LabelAnswer(label=shapes.label(label))


@router.delete("/runs/{run}/keys/{key}/labels", responses=WRITING)
def retract_label(target: LabelledKey, person: Person, database: LabelsDatabase) -> Done:
    """Take one's own label back; it stays in the history."""
    database.write(lambda session: repository.retract_label(session, target, person))
    return Done()


@router.get(
    "/labels/export", responses=models.failures(422, 503) | models.files(*MEDIA_TYPES.values()), response_class=Response
)
def export_labels(
    database: LabelsDatabase,
    format: Annotated[Literal["csv", "jsonl", "parquet"], Query()] = "csv",
    current: Annotated[bool, Query(description="Only current labels, without the history")] = False,
    weights_sha256: Annotated[str | None, Query(description="Only keys of these weights")] = None,
) -> Response:
    """Every label with its history, in the order they were given."""
    with database.transaction() as session:
        rows = [_export_row(label) for label in repository.all_labels(session, weights_sha256, current)]
    return respond(Sheet("labels", EXPORT_COLUMNS, rows), format)


def _export_row(label: Label) -> list[object]:
    values = shapes.label(label).model_dump(mode="json")
    return [
        {**values, "layer": label.layer, "index": label.key_index, "weights_sha256": label.weights_sha256}[name]
        for name in EXPORT_COLUMNS
    ]


def _utf8(header: str) -> str:
    # HTTP hands header bytes over as Latin-1.
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
