"""Decisions, comments and lists of a key, as its page shows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from markupsafe import Markup
from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Person
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.labels import adjudication, changes, comments, lists, markdown
from keyscope.app.labels.comments import Written
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Adjudication
from keyscope.app.roles import Role

Href = Callable[..., str]
"""The address of a form about the key, by route name and further path parameters."""


@dataclass(frozen=True, slots=True)
class ShownComment:
    """A comment."""

    id: int
    person: str
    html: Markup
    """Sanitised HTML."""
    text: str
    """Markdown as typed."""
    version: int
    written: datetime
    changed: datetime | None
    change_href: str | None
    """Where an edit is sent; None for other people's comments."""
    delete_href: str | None


@dataclass(frozen=True, slots=True)
class Holding:
    """A list that has the key."""

    id: int
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class Discussion:
    """Everything about one key."""

    events_href: str
    """Stream of others' changes."""
    comment_href: str
    decide_href: str
    add_href: str
    """Where the form that adds the key to a list is sent."""
    person: str
    may_write: bool
    may_decide: bool
    problem: str | None = None
    """Why nothing could be read; None if it was."""
    state: str = ""
    """State the page shows; a different one means a change."""
    comments: list[ShownComment] = field(default_factory=list)
    decisions: Sequence[Adjudication] = ()
    """The latest first."""
    holdings: list[Holding] = field(default_factory=list)
    choices: list[Holding] = field(default_factory=list)
    """Lists the key can be added to."""
    kinds: tuple[Kind, ...] = tuple(Kind)

    @property
    def decision(self) -> Adjudication | None:
        """The decision in force, if any."""
        return self.decisions[0] if self.decisions and self.decisions[0].kind else None

    @property
    def seen(self) -> int:
        """Number of the latest decision, 0 for none."""
        return self.decisions[0].number if self.decisions else 0


def box(database: Database, target: Target, visitor: Person | None, href: Href) -> Discussion:
    """The discussion of a key; if the database does not answer, only a problem is reported."""
    found = Discussion(
        events_href=href("key_events"),
        comment_href=href("write_comment_form"),
        decide_href=href("decide_form"),
        add_href=href("add_to_list_form"),
        person=visitor.name if visitor else "",
        may_write=visitor is not None and visitor.role.may(Role.LABELER),
        may_decide=visitor is not None and visitor.role.may(Role.ADMIN),
    )

    def load(session: Session) -> Discussion:
        # Read the state first: a change in between is then reported twice rather than missed.
        state = changes.state(session, target)
        said = state != changes.NOTHING
        holding = lists.holding(session, target.weights_sha256, target.key, visitor.name if visitor else None)
        held = [Holding(each.id, each.name, entry.note) for each, entry in holding]
        visible = lists.visible_lists(session, visitor.name, target.weights_sha256) if visitor else []
        return replace(
            found,
            state=state,
            comments=[_shown(each, visitor, href) for each in comments.comments_of(session, target)] if said else [],
            decisions=adjudication.decisions(session, target) if said else (),
            holdings=held,
            choices=[
                Holding(each.list.id, each.list.name, "")
                for each in visible
                if each.list.id not in {holding.id for holding in held}
            ],
        )

    try:
        return database.read(load)
    except DatabaseUnavailable as error:
        return replace(found, problem=error.detail)


def _shown(written: Written, visitor: Person | None, href: Href) -> ShownComment:
    comment, text = written.comment, written.text
    own = visitor is not None and visitor.name == comment.person and visitor.role.may(Role.LABELER)
    return ShownComment(
        id=comment.id,
        person=comment.person,
        html=markdown.render(text.text),
        text=text.text,
        version=text.number,
        written=comment.created_at,
        changed=text.created_at if written.edited else None,
        change_href=href("change_comment_form", comment=comment.id) if own else None,
        delete_href=href("delete_comment_form", comment=comment.id)
        if own or (visitor is not None and visitor.role.may(Role.ADMIN))
        else None,
    )
