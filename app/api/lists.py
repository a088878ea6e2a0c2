"""Lists of keys with notes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from keyscope.app import queries
from keyscope.app.accounts.identity import Labeler, Visitor
from keyscope.app.api.labels import Done
from keyscope.app.labels import lists
from keyscope.app.labels.lists import Summary
from keyscope.app.labels.team_models import ListEntry
from keyscope.app.web import shapes
from keyscope.app.web.dependencies import LabelsDatabase, ListId, OpenRun, Runs
from keyscope.contract.keys import KeyId, KeyName

READING = shapes.failures(404, 422, 503)
WRITING = shapes.failures(403, 404, 422, 503)
CHANGING = WRITING | shapes.failures(409)
router = APIRouter(tags=["lists"])

Keys = Annotated[list[KeyName], Field(max_length=lists.MOST_KEYS)]
Note = Annotated[str, Field(max_length=lists.LONGEST_NOTE)]
Version = Annotated[int, Field(ge=1, description="The version you have seen; if there is a later one, nothing changes")]


class ListBody(shapes.Shape):
    """A new list."""

    name: str = Field(min_length=1, max_length=lists.LONGEST_NAME)
    shared: bool = Field(True, description="Whether everybody sees and fills it, or only its owner")
    keys: Keys = Field(default_factory=list, description="In the order of the list")


class RenameBody(shapes.Shape):
    """A new name for a list, and who sees it."""

    name: str = Field(min_length=1, max_length=lists.LONGEST_NAME)
    shared: bool
    version: Version


class KeysBody(shapes.Shape):
    """Keys to append to a list."""

    keys: Keys = Field(min_length=1)
    note: Note = ""


class NoteBody(shapes.Shape):
    """The note on a key of a list."""

    note: Note
    version: Version


class PlaceBody(shapes.Shape):
    """The new place of a key in a list."""

    place: int = Field(ge=0, description="From 0")
    version: Version


class ListShape(BaseModel):
    """A list."""

    id: int
    name: str
    owner: str
    shared: bool
    weights_sha256: str
    n_keys: int
    version: int
    created_at: datetime

    @classmethod
    def of(cls, summary: Summary) -> "ListShape":
        found = summary.list
        return cls(
            id=found.id,
            name=found.name,
            owner=found.owner,
            shared=found.shared,
            weights_sha256=found.weights_sha256,
            n_keys=summary.n_keys,
            version=found.version,
            created_at=found.created_at,
        )


class EntryShape(BaseModel):
    """A key of a list."""

    key: shapes.Key
    note: str
    version: int
    person: str = Field(description="Who put it in")
    created_at: datetime


class ListsAnswer(shapes.Answer):
    """The lists you may see, the newest first."""

    lists: list[ListShape]


class ListAnswer(shapes.Answer):
    """A list with its keys in order."""

    list: ListShape
    keys: Sequence[EntryShape]


class AddedAnswer(shapes.Answer):
    """How many keys were added."""

    added: int


@router.get("/lists", responses=shapes.failures(503))
def show_lists(visitor: Visitor, database: LabelsDatabase) -> ListsAnswer:
    """Every list you may see, of all models."""
    return _lists(database.read(lambda session: lists.visible_lists(session, _name(visitor))))


@router.get("/runs/{run}/lists", responses=shapes.OF_A_RUN | shapes.failures(503))
def show_lists_of_run(run: OpenRun, visitor: Visitor, database: LabelsDatabase) -> ListsAnswer:
    """Every list of the run's weights that you may see."""
    weights = run.manifest.model.weights_sha256
    return _lists(database.read(lambda session: lists.visible_lists(session, _name(visitor), weights)))


@router.post("/runs/{run}/lists", status_code=201, responses=WRITING)
def make_list(run: OpenRun, body: ListBody, person: Labeler, database: LabelsDatabase) -> ListAnswer:
    """Make a list for the run's weights."""
    weights, keys = run.manifest.model.weights_sha256, [KeyId.parse(key) for key in body.keys]
    for key in keys:
        queries.check_key(run.manifest, key)
    made = database.write(lambda session: lists.make_list(session, person, weights, body.name, keys, body.shared).id)
    return show_list(made, person, database)


@router.get("/lists/{list}", responses=READING)
def show_list(list_id: ListId, visitor: Visitor, database: LabelsDatabase) -> ListAnswer:
    """A list with its keys in order."""

    def load(session: Session) -> tuple[Summary, Sequence[ListEntry]]:
        entries = lists.entries(session, list_id)
        return Summary(lists.get_list(session, list_id, _name(visitor)), len(entries)), entries

    summary, entries = database.read(load)
    keys = [EntryShape.model_validate(each, from_attributes=True) for each in entries]
    return ListAnswer(list=ListShape.of(summary), keys=keys)


@router.patch("/lists/{list}", responses=CHANGING)
def rename_list(list_id: ListId, body: RenameBody, person: Labeler, database: LabelsDatabase) -> ListAnswer:
    """Change a list's name and who sees it; allowed for its owner and admins."""
    database.write(lambda session: lists.rename_list(session, list_id, person, body.name, body.shared, body.version))
    return show_list(list_id, person, database)


@router.delete("/lists/{list}", responses=WRITING)
def put_list_away(list_id: ListId, person: Labeler, database: LabelsDatabase) -> Done:
    """Put a list away; allowed for its owner and admins. Its owner can bring it back."""
    database.write(lambda session: lists.put_away(session, list_id, person))
    return Done()


@router.post("/lists/{list}/restore", responses=WRITING)
def bring_list_back(list_id: ListId, person: Labeler, database: LabelsDatabase) -> ListAnswer:
    """Bring back one of your archived lists."""
    database.write(lambda session: lists.bring_back(session, list_id, person))
    return show_list(list_id, person, database)


@router.post("/lists/{list}/keys", responses=WRITING)
def add_to_list(list_id: ListId, body: KeysBody, person: Labeler, runs: Runs, database: LabelsDatabase) -> AddedAnswer:
    """Append keys to a list; keys already in it keep their place."""
    keys = [KeyId.parse(key) for key in body.keys]
    lists.check_keys(runs, database, list_id, person.name, keys)
    added = database.write(lambda session: lists.add_keys(session, list_id, person, keys, body.note))
    return AddedAnswer(added=added)


@router.delete("/lists/{list}/keys/{key}", responses=WRITING)
def remove_from_list(list_id: ListId, key: str, person: Labeler, database: LabelsDatabase) -> Done:
    """Remove a key from a list."""
    parsed = KeyId.parse(key)
    database.write(lambda session: lists.remove_key(session, list_id, person, parsed))
    return Done()


@router.put("/lists/{list}/keys/{key}/note", responses=CHANGING)
def note_in_list(list_id: ListId, key: str, body: NoteBody, person: Labeler, database: LabelsDatabase) -> Done:
    """Change the note on a key of a list."""
    parsed = KeyId.parse(key)
    database.write(lambda session: lists.set_note(session, list_id, person, parsed, body.note, body.version))
    return Done()


@router.put("/lists/{list}/keys/{key}/place", responses=CHANGING)
def place_in_list(list_id: ListId, key: str, body: PlaceBody, person: Labeler, database: LabelsDatabase) -> Done:
    """Move a key within a list; `version` is the list's."""
    parsed = KeyId.parse(key)
    database.write(lambda session: lists.move_key(session, list_id, person, parsed, body.place, body.version))
    return Done()


def _lists(found: Sequence[Summary]) -> ListsAnswer:
    return ListsAnswer(lists=[ListShape.of(each) for each in found])


def _name(visitor: Visitor) -> str | None:
    return visitor.name if visitor else None
