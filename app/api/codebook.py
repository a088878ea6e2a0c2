"""The codebook: read what each kind means, and change it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keyscope.app import queries
from keyscope.app.accounts.identity import Admin
from keyscope.app.labels import codebook
from keyscope.app.labels.codebook import Entry, Words
from keyscope.app.labels.fields import Definition
from keyscope.app.labels.models import Kind
from keyscope.app.labels.team_models import CodebookChange
from keyscope.app.runs import Registry
from keyscope.app.web import shapes
from keyscope.app.web.dependencies import LabelsDatabase, Runs
from keyscope.contract.keys import KeyId, KeyName

router = APIRouter(tags=["labels"])

OfRun = Annotated[str | None, Query(description="A run of the model that the example keys belong to")]


class EntryShape(BaseModel):
    """What a kind means."""

    kind: Kind
    definition: str = Field(description="The same for keys of every model")
    example: str | None = Field(description="A key of this kind; null if there is none or no run is named")
    counter_example: str | None = Field(description="A key that only looks like one of this kind")
    version: int = Field(description="0 as shipped")
    person: str | None = Field(description="Who changed it last")
    changed_at: datetime | None

    @classmethod
    def of(cls, entry: Entry) -> "EntryShape":
        said = entry.words
        return cls(
            kind=entry.kind,
            definition=said.definition,
            example=said.example,
            counter_example=said.counter_example,
            version=entry.version,
            person=entry.person,
            changed_at=entry.changed_at,
        )


class ChangeShape(BaseModel):
    """One change of an entry."""

    kind: Kind
    version: int
    definition: str
    weights_sha256: str | None = Field(description="The model of the two keys")
    example: str | None
    counter_example: str | None
    person: str
    created_at: datetime

    @classmethod
    def of(cls, change: CodebookChange) -> "ChangeShape":
        return cls(
            kind=change.kind,
            version=change.number,
            definition=change.definition,
            weights_sha256=change.weights_sha256,
            example=change.example,
            counter_example=change.counter_example,
            person=change.person,
            created_at=change.created_at,
        )


class CodebookAnswer(shapes.Answer):
    """What each kind means."""

    entries: list[EntryShape]
    history: Sequence[ChangeShape] = Field(description="Every change, the latest first")


class EntryBody(shapes.Shape):
    """A new text for the entry of a kind."""

    kind: Kind
    definition: Definition
    example: KeyName | None = None
    counter_example: KeyName | None = None
    version: int = Field(ge=0, description="The version you have seen; if there is a later one, nothing changes")


@router.get("/codebook", responses=shapes.failures(404, 422, 503))
def show_codebook(runs: Runs, database: LabelsDatabase, run: OfRun = None) -> CodebookAnswer:
    """What each kind means, with the example keys of a run's model."""
    return _codebook(runs, database, run)


@router.put("/codebook", responses=shapes.failures(403, 404, 409, 422, 503))
def change_codebook(
    body: EntryBody, runs: Runs, person: Admin, database: LabelsDatabase, run: OfRun = None
) -> CodebookAnswer:
    """Say anew what a kind means; earlier texts are kept."""
    weights = None
    if run is not None:
        manifest = runs.get(run).manifest
        weights = manifest.model.weights_sha256
        for name in (body.example, body.counter_example):
            if name:
                queries.check_key(manifest, KeyId.parse(name))
    said = Words(body.definition, body.example, body.counter_example)
    database.write(lambda session: codebook.change(session, weights, body.kind, person.name, said, body.version))
    return _codebook(runs, database, run)


def _codebook(runs: Registry, database: LabelsDatabase, run: str | None) -> CodebookAnswer:
    weights = None if run is None else runs.get(run).manifest.model.weights_sha256
    entries, history = database.read(lambda session: (codebook.entries(session, weights), codebook.history(session)))
    return CodebookAnswer(
        entries=[EntryShape.of(each) for each in entries], history=[ChangeShape.of(each) for each in history]
    )
