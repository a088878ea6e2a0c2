"""Comments on keys, decisions on them, and recent activity."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keyscope.app.accounts.identity import Admin, Labeler, Visitor
from keyscope.app.api.labels import WRITING, Done, LabelledKey
from keyscope.app.labels import activity, adjudication, comments, markdown
from keyscope.app.labels.activity import What
from keyscope.app.labels.comments import Written
from keyscope.app.labels.fields import Description
from keyscope.app.labels.models import Kind
from keyscope.app.labels.team_models import CommentText
from keyscope.app.roles import Role
from keyscope.app.web import shapes
from keyscope.app.web.dependencies import LabelsDatabase, RowId

READING = shapes.OF_A_RUN | shapes.failures(503)
CHANGING = WRITING | shapes.failures(409)
COMMENTS = "/runs/{run}/keys/{key}/comments"
router = APIRouter(tags=["comments"])


class CommentBody(shapes.Shape):
    """The text of a comment."""

    text: str = Field(max_length=comments.LONGEST, description="Markdown: emphasis, code, lists, links; @name mentions")


class ChangedCommentBody(CommentBody):
    """A new text for a comment."""

    version: int = Field(ge=1, description="The version you have seen; if there is a later one, nothing changes")


class CommentShape(BaseModel):
    """A comment with its latest text."""

    id: int
    person: str
    text: str = Field(description="As typed")
    html: str = Field(description="As shown, sanitised")
    version: int
    created_at: datetime
    changed_at: datetime | None

    @classmethod
    def of(cls, written: Written) -> "CommentShape":
        comment, text = written.comment, written.text
        return cls(
            id=comment.id,
            person=comment.person,
            text=text.text,
            html=markdown.render(text.text),
            version=text.number,
            created_at=comment.created_at,
            changed_at=text.created_at if written.edited else None,
        )


class CommentsAnswer(shapes.Answer):
    """The comments on a key, the oldest first."""

    key: str
    comments: list[CommentShape]


class CommentAnswer(shapes.Answer):
    """A comment as it is now."""

    comment: CommentShape


class VersionShape(BaseModel):
    """One version of a comment's text."""

    version: int
    text: str
    created_at: datetime

    @classmethod
    def of(cls, text: CommentText) -> "VersionShape":
        return cls(version=text.number, text=text.text, created_at=text.created_at)


class VersionsAnswer(shapes.Answer):
    """Every version of a comment, the oldest first."""

    versions: list[VersionShape]


class AdjudicationBody(shapes.Shape):
    """A decision on a key."""

    kind: Kind | None = Field(description="null reopens the key")
    description: Description = ""
    seen: int = Field(ge=0, description="Number of the last decision you have seen, 0 for none")


class AdjudicationShape(BaseModel):
    """A decision on a key, beside its labels."""

    number: int
    person: str
    kind: Kind | None
    description: str
    created_at: datetime


class AdjudicationsAnswer(shapes.Answer):
    """Every decision on a key, the latest first; the first one is in force."""

    key: str
    adjudications: list[AdjudicationShape]


class EventShape(BaseModel):
    """One thing that a person did."""

    what: What
    at: datetime
    person: str
    weights_sha256: str
    key: shapes.Key | None = Field(description="null for a list")
    kind: str | None
    text: str
    id: int = Field(description="Id of the label, decision, comment or list")


class ActivityAnswer(shapes.Answer):
    """Recent events, the latest first."""

    events: list[EventShape]
    next: str | None = Field(description="The value of `before` for the next page; null at the end")


@router.get(COMMENTS, responses=READING)
def show_comments(target: LabelledKey, database: LabelsDatabase) -> CommentsAnswer:
    """The comments on a key of this run's weights."""
    found = database.read(lambda session: comments.comments_of(session, target))
    return CommentsAnswer(key=str(target.key), comments=[CommentShape.of(each) for each in found])


@router.post(COMMENTS, status_code=201, responses=WRITING)
def write_comment(target: LabelledKey, body: CommentBody, person: Labeler, database: LabelsDatabase) -> CommentAnswer:
    """Write a comment."""
    written = database.write(lambda session: comments.write(session, target, person.name, body.text))
    return CommentAnswer(comment=CommentShape.of(written))


@router.put(COMMENTS + "/{comment}", responses=CHANGING)
def change_comment(
    target: LabelledKey, comment: RowId, body: ChangedCommentBody, person: Labeler, database: LabelsDatabase
) -> CommentAnswer:
    """Edit your own comment; earlier versions are kept."""
    changed = database.write(
        lambda session: comments.change(session, target, comment, person.name, body.text, body.version)
    )
    return CommentAnswer(comment=CommentShape.of(changed))


@router.delete(COMMENTS + "/{comment}", responses=WRITING)
def delete_comment(target: LabelledKey, comment: RowId, person: Labeler, database: LabelsDatabase) -> Done:
    """Take back your own comment; an admin may take back any."""
    may_all = person.role.may(Role.ADMIN)
    database.write(lambda session: comments.take_back(session, target, comment, person.name, may_all))
    return Done()


@router.get(COMMENTS + "/{comment}/versions", responses=READING)
def show_comment_versions(target: LabelledKey, comment: RowId, database: LabelsDatabase) -> VersionsAnswer:
    """Every version of a comment's text."""
    found = database.read(lambda session: comments.versions(session, target, comment))
    return VersionsAnswer(versions=[VersionShape.of(each) for each in found])


@router.get("/runs/{run}/keys/{key}/adjudications", responses=READING)
def show_adjudications(target: LabelledKey, database: LabelsDatabase) -> AdjudicationsAnswer:
    """Every decision on a key of this run's weights."""
    return _decisions(target, database)


@router.post("/runs/{run}/keys/{key}/adjudications", status_code=201, responses=CHANGING)
def adjudicate(
    target: LabelledKey, body: AdjudicationBody, person: Admin, database: LabelsDatabase
) -> AdjudicationsAnswer:
    """Decide on a key's kind, beside the labels, or reopen the key."""
    database.write(
        lambda session: adjudication.decide(session, target, person.name, body.kind, body.description, body.seen)
    )
    return _decisions(target, database)


@router.get("/activity", responses=shapes.failures(422, 503))
def show_activity(
    visitor: Visitor,
    database: LabelsDatabase,
    person: Annotated[str | None, Query(description="Only events by this person")] = None,
    mentioning: Annotated[str | None, Query(description="Only comments that mention this person")] = None,
    weights_sha256: Annotated[str | None, Query(description="Only keys of these weights")] = None,
    before: Annotated[str, Query(description="The value of `next` from the previous page")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = activity.PAGE,
) -> ActivityAnswer:
    """Recent activity: labels, decisions, comments and lists."""
    viewer = visitor.name if visitor else None
    chosen = activity.Filter(viewer, person, mentioning, weights_sha256, before)
    events = database.read(lambda session: activity.recent(session, chosen, limit))
    return ActivityAnswer(
        events=[EventShape.model_validate(each, from_attributes=True) for each in events],
        next=events[-1].cursor if len(events) == limit else None,
    )


def _decisions(target: LabelledKey, database: LabelsDatabase) -> AdjudicationsAnswer:
    found = database.read(lambda session: adjudication.decisions(session, target))
    return AdjudicationsAnswer(
        key=str(target.key),
        adjudications=[AdjudicationShape.model_validate(each, from_attributes=True) for each in found],
    )
