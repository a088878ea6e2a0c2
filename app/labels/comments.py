"""Comments on keys: written, changed and taken back by their author, every version kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Forbidden
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.labels import markdown
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Comment, CommentText, Mention
from keyscope.contract.errors import KeyscopeError

LONGEST = 10_000


class UnknownComment(NotFound):
    """There is no such comment, or it was taken back."""

    code = "unknown_comment"


class CommentChanged(KeyscopeError):
    """The comment was changed since it was looked at."""

    code = "comment_changed"
    status = 409


@dataclass(frozen=True, slots=True)
class Written:
    """A comment with its present words."""

    comment: Comment
    text: CommentText

    @property
    def edited(self) -> bool:
        """Whether its words were changed after it was written."""
        return self.text.number > 1


def comments_of(session: Session, target: Target) -> list[Written]:
    """The comments on a key, the oldest first."""
    where = (
        Comment.weights_sha256 == target.weights_sha256,
        Comment.layer == target.key.layer,
        Comment.key_index == target.key.index,
        Comment.deleted_at.is_(None),
    )
    return [Written(comment, text) for comment, text in session.execute(with_words(*where).order_by(Comment.id))]


def versions(session: Session, target: Target, comment_id: int) -> Sequence[CommentText]:
    """Every version of a comment's words, the first first.

    Raises:
        UnknownComment: the key has no such comment.
    """
    _find(session, target, comment_id)
    return _texts(session, comment_id)


def write(session: Session, target: Target, person: str, text: str) -> Written:
    """A new comment on a key.

    Raises:
        InvalidParameter: it says nothing, or too much.
    """
    now = datetime.now(UTC)
    comment = Comment(
        weights_sha256=target.weights_sha256,
        layer=target.key.layer,
        key_index=target.key.index,
        person=person,
        created_at=now,
        deleted_at=None,
    )
    session.add(comment)
    session.flush()
    return Written(comment, _say(session, comment, 1, text, now))


def change(session: Session, target: Target, comment_id: int, person: str, text: str, seen: int) -> Written:
    """New words for one's own comment, by who saw version `seen`.

    Raises:
        UnknownComment: the key has no such comment.
        Forbidden: it is another person's.
        CommentChanged: it was changed since.
        InvalidParameter: it says nothing, or too much.
    """
    comment = _own(session, target, comment_id, person)
    latest = _texts(session, comment_id)[-1]
    if latest.number != seen:
        raise CommentChanged(
            f"your comment was changed elsewhere; it now says {latest.text!r}: look at it again, then change it"
        )
    return Written(comment, _say(session, comment, latest.number + 1, text, datetime.now(UTC)))


def take_back(session: Session, target: Target, comment_id: int, person: str, may_all: bool = False) -> None:
    """Take a comment out of sight; one's own, or any for who may.

    Raises:
        UnknownComment: the key has no such comment.
        Forbidden: it is another person's.
    """
    _own(session, target, comment_id, person, may_all).deleted_at = datetime.now(UTC)


def with_words(*where: ColumnElement[bool]) -> Select[Comment, CommentText]:
    """Comments beside their present words."""
    return select(Comment, CommentText).join(CommentText, present_words()).where(*where)


def present_words() -> ColumnElement[bool]:
    """What joins a comment to the latest version of its words."""
    latest = select(func.max(CommentText.number)).where(CommentText.comment_id == Comment.id)
    return (CommentText.comment_id == Comment.id) & (CommentText.number == latest.correlate(Comment).scalar_subquery())


def _say(session: Session, comment: Comment, number: int, text: str, now: datetime) -> CommentText:
    words = text.strip().replace("\r\n", "\n")
    if not words or len(words) > LONGEST or "\0" in words:
        raise InvalidParameter(f"a comment has 1 to {LONGEST:,} characters, none of them NUL; this has {len(words):,}")
    said = CommentText(comment_id=comment.id, number=number, text=words, created_at=now)
    session.add(said)
    session.execute(delete(Mention).where(Mention.comment_id == comment.id))
    names = dict.fromkeys(name.casefold()[:100] for name in markdown.mentioned(words))
    session.add_all(Mention(comment_id=comment.id, person=name) for name in names)
    session.flush()
    return said


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
