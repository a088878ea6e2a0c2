"""What a team does with a key beside labelling it, as its page shows it: decisions, comments and lists."""

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
"""The address of a form about the key by the name of its route, and what else is in its path."""


@dataclass(frozen=True, slots=True)
class ShownComment:
    """A comment."""

    id: int
    person: str
    html: Markup
    """Its words, sanitised."""
    text: str
    """Its words as they were typed."""
    version: int
    written: datetime
    changed: datetime | None
    change_href: str | None
    """Where other words are sent to; None where it is another person's."""
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
    """Where changes by others are heard of."""
    comment_href: str
    decide_href: str
    add_href: str
    """Where the key is put into a list."""
    person: str
    may_write: bool
    may_decide: bool
    problem: str | None = None
    """Why nothing could be read, where it could not."""
    state: str = ""
    """What the page knows; another one means that something has changed."""
    comments: list[ShownComment] = field(default_factory=list)
    decisions: Sequence[Adjudication] = ()
    """The latest first."""
    holdings: list[Holding] = field(default_factory=list)
    choices: list[Holding] = field(default_factory=list)
    """Lists that the key can be put into."""
    kinds: tuple[Kind, ...] = tuple(Kind)

    @property
    def decision(self) -> Adjudication | None:
        """What is in force."""
        return self.decisions[0] if self.decisions and self.decisions[0].kind else None

    @property
    def seen(self) -> int:
        """Number of the latest decision, 0 for none."""
        return self.decisions[0].number if self.decisions else 0


def box(database: Database, target: Target, visitor: Person | None, href: Href) -> Discussion:
    """What there is about a key; a database that does not answer leaves the rest of the page as it is."""
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
        # The state is read first: what comes in between is heard of once more rather than missed.
        state = changes.state(session, target)
        holding = lists.holding(session, target.weights_sha256, target.key, visitor.name if visitor else None)
        held = [Holding(each.id, each.name, entry.note) for each, entry in holding]
        visible = lists.visible_lists(session, visitor.name, target.weights_sha256) if visitor else []
        return replace(
            found,
            state=state,
            comments=[_shown(each, visitor, href) for each in comments.comments_of(session, target)],
            decisions=adjudication.decisions(session, target),
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
