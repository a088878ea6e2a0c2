"""Labels of keys: read, give, take back and undo."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from keyscope.app.accounts.identity import Labeler
from keyscope.app.labels import repository
from keyscope.app.labels.fields import MOST_EVIDENCE, MOST_TAGS, Description, Tag
from keyscope.app.labels.models import Evidence, Kind
from keyscope.app.labels.repository import Judgement, Target
from keyscope.app.web import shapes
from keyscope.app.web.dependencies import Key, LabelsDatabase, OpenRun

WRITING = shapes.OF_A_RUN | shapes.failures(403, 503)
router = APIRouter(tags=["labels"])


class LabelBody(shapes.Shape):
    """A label to give."""

    kind: Kind
    description: Description = ""
    confidence: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    tags: list[Tag] = Field(default_factory=list, max_length=MOST_TAGS)
    evidence: list[Evidence] = Field(default_factory=list, max_length=MOST_EVIDENCE)
    based_on: int | None = Field(
        None,
        ge=0,
        description="Id of your label that you have seen, 0 for none; if it has changed since, nothing is saved",
    )


class LabelsAnswer(shapes.Answer):
    """The labels of a key."""

    key: str
    labels: list[shapes.LabelShape] = Field(description="Everyone's current label")
    history: list[shapes.LabelShape] = Field(description="Every label the key ever had, the latest first")


class LabelAnswer(shapes.Answer):
    """The label just given."""

    label: shapes.LabelShape


class UndoAnswer(shapes.Answer):
    """A person's label after an undo."""

    label: shapes.LabelShape | None = Field(description="null if there was none before")


class TagShape(BaseModel):
    """A tag and how many labels have it."""

    tag: str
    count: int


class TagsAnswer(shapes.Answer):
    """Tags in use, the most frequent first."""

    tags: list[TagShape]


class Done(shapes.Answer):
    """Success without content."""


def _target(run: OpenRun, key: Key) -> Target:
    return Target(run.manifest.model.weights_sha256, key)


LabelledKey = Annotated[Target, Depends(_target)]
BasedOn = Annotated[
    int | None,
    Query(
        ge=0, description="Id of your label that you have seen, 0 for none; if it has changed since, nothing changes"
    ),
]


@router.get("/runs/{run}/keys/{key}/labels", responses=shapes.OF_A_RUN | shapes.failures(503))
def show_labels(target: LabelledKey, database: LabelsDatabase) -> LabelsAnswer:
    """Everyone's labels of a key of this run's weights."""
    found = database.read(lambda session: repository.history(session, target))
    labels = [shapes.LabelShape.model_validate(each) for each in found]
    current = sorted((label for label in labels if label.current), key=lambda label: label.person)
    return LabelsAnswer(key=str(target.key), labels=current, history=labels)


@router.put("/runs/{run}/keys/{key}/labels", responses=WRITING)
def put_label(target: LabelledKey, body: LabelBody, person: Labeler, database: LabelsDatabase) -> LabelAnswer:
    """Give a label; it replaces your previous one, which stays in the history."""
    judgement = Judgement(
        kind=body.kind,
        description=body.description,
        confidence=body.confidence,
        tags=list(dict.fromkeys(body.tags)),
        evidence=body.evidence,
    )
    label = database.write(lambda session: repository.put_label(session, target, person.name, judgement, body.based_on))
    return LabelAnswer(label=shapes.LabelShape.model_validate(label))


@router.delete("/runs/{run}/keys/{key}/labels", responses=WRITING)
def retract_label(target: LabelledKey, person: Labeler, database: LabelsDatabase, based_on: BasedOn = None) -> Done:
    """Take back your label; it stays in the history."""
    database.write(lambda session: repository.retract_label(session, target, person.name, based_on))
    return Done()


@router.post("/runs/{run}/keys/{key}/labels/undo", responses=WRITING)
def undo_label(target: LabelledKey, person: Labeler, database: LabelsDatabase, based_on: BasedOn = None) -> UndoAnswer:
    """Undo your last change; your previous label is given again, and the history keeps everything."""
    label = database.write(lambda session: repository.undo(session, target, person.name, based_on))
    return UndoAnswer(label=None if label is None else shapes.LabelShape.model_validate(label))


@router.get("/runs/{run}/tags", responses=shapes.OF_A_RUN | shapes.failures(503))
def show_tags(run: OpenRun, database: LabelsDatabase) -> TagsAnswer:
    """Tags of the latest labels of the model."""
    weights = run.manifest.model.weights_sha256
    known = database.read(lambda session: repository.known_tags(session, weights))
    return TagsAnswer(tags=[TagShape(tag=tag, count=count) for tag, count in known])
