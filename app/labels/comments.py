"""Comments on keys: written, edited and taken back by their author, with every version kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Forbidden
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.labels import markdown
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Comment, CommentText, Mention
from keyscope.contract.errors import KeyscopeError

LONGEST = 10_000


class UnknownComment(NotFound):
    """The comment does not exist, or was taken back."""


class CommentChanged(KeyscopeError, status=409):
    """The comment changed after it was last seen."""


@dataclass(frozen=True, slots=True)
class Written:
    """A comment with its latest text."""

    comment: Comment
    text: CommentText

    @property
    def edited(self) -> bool:
        return self.text.number > 1


def comments_of(session: Session, target: Target) -> list[Written]:
    """The comments on a key, the oldest first."""
    where = *target.rows_of(Comment), Comment.deleted_at.is_(None)
    chosen = select(Comment, CommentText).join(CommentText, latest_text()).where(*where).order_by(Comment.id)
    return [Written(comment, text) for comment, text in session.execute(chosen)]


def versions(session: Session, target: Target, comment_id: int) -> Sequence[CommentText]:
    """Every version of a comment's text, the oldest first.

    Raises:
        UnknownComment: the key has no such comment.
    """
    _find(session, target, comment_id)
    return _texts(session, comment_id)


def write(session: Session, target: Target, person: str, text: str) -> Written:
    """Add a comment to a key.

    Raises:
        InvalidParameter: the text is empty or too long.
    """
    now = datetime.now(UTC)
    comment = Comment(
        **target.columns,
        person=person,
        created_at=now,
        deleted_at=None,
    )
    session.add(comment)
    session.flush()
    return Written(comment, _say(session, comment, 1, text, now))


def change(session: Session, target: Target, comment_id: int, person: str, text: str, seen: int) -> Written:
    """Edit one's own comment; `seen` is the version the edit started from.

    Raises:
        UnknownComment: the key has no such comment.
        Forbidden: it is somebody else's comment.
        CommentChanged: there is a later version than `seen`.
        InvalidParameter: the text is empty or too long.
    """
    comment = _own(session, target, comment_id, person)
    latest = _texts(session, comment_id)[-1]
    if latest.number != seen:
        raise CommentChanged(
            f"your comment was edited elsewhere and now reads {latest.text!r}: look at it again, then edit it"
        )
    return Written(comment, _say(session, comment, latest.number + 1, text, datetime.now(UTC)))


def take_back(session: Session, target: Target, comment_id: int, person: str, may_all: bool = False) -> None:
    """Hide a comment; one's own, or anybody's with `may_all`.

    Raises:
        UnknownComment: the key has no such comment.
        Forbidden: it is somebody else's comment.
    """
    _own(session, target, comment_id, person, may_all).deleted_at = datetime.now(UTC)


def latest_text() -> ColumnElement[bool]:
    """The condition that joins a comment to its latest text."""
    latest = select(func.max(CommentText.number)).where(CommentText.comment_id == Comment.id)
    return (CommentText.comment_id == Comment.id) & (CommentText.number == latest.correlate(Comment).scalar_subquery())


def _say(session: Session, comment: Comment, number: int, text: str, now: datetime) -> CommentText:
    words = text.strip().replace("\r\n", "\n")
    if not words or len(words) > LONGEST or "\0" in words:
        raise InvalidParameter(f"a comment needs 1 to {LONGEST:,} characters and no NUL; this one has {len(words):,}")
    written = CommentText(comment_id=comment.id, number=number, text=words, created_at=now)
    session.add(written)
    session.execute(delete(Mention).where(Mention.comment_id == comment.id))
    names = dict.fromkeys(name.casefold()[:100] for name in markdown.mentioned(words))
    session.add_all(Mention(comment_id=comment.id, person=name) for name in names)
    session.flush()
    return written


def _texts(session: Session, comment_id: int) -> Sequence[CommentText]:
    chosen = select(CommentText).where(CommentText.comment_id == comment_id)
    return session.scalars(chosen.order_by(CommentText.number)).all()


def _find(session: Session, target: Target, comment_id: int) -> Comment:
    comment = session.get(Comment, comment_id)
    about = comment and (comment.weights_sha256, comment.key)
    if comment is None or comment.deleted_at is not None or about != (target.weights_sha256, target.key):
        raise UnknownComment(f"{target.key} has no comment {comment_id}: it may have been taken back")
    return comment


def _own(session: Session, target: Target, comment_id: int, person: str, may_all: bool = False) -> Comment:
    comment = _find(session, target, comment_id)
    if comment.person != person and not may_all:
        raise Forbidden(f"comment {comment_id} is {comment.person}'s: only they can change it")
    return comment
