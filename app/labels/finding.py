"""Keys found by what people say about them: descriptions and tags of labels, reasons of decisions."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, func, literal, select
from sqlalchemy.orm import Session

from keyscope.app.labels import adjudication
from keyscope.app.labels.models import Kind, Label
from keyscope.app.labels.team_models import Adjudication
from keyscope.contract.keys import KeyId

MOST = 50
"""Keys returned unless a caller asks for another number."""
BATCH = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A key, and the label or decision whose words match."""

    key: KeyId
    person: str
    kind: Kind
    description: str
    tags: Sequence[str]
    decided: bool
    """Whether the words are those of the decision on the key rather than of a label."""


def search_labels(session: Session, weights_sha256: str, text: str, limit: int = MOST) -> list[Found]:
    """Keys of a model whose current labels or decision in force contain a text, by layer and index, each once.

    Case does not matter and no character is a wildcard. The decision comes before labels, labels go by person. A text
    of white space alone finds nothing. On PostgreSQL, the database's locale decides on letters beyond ASCII.
    """
    wanted = text.strip().lower()
    if not wanted:
        return []
    found = _decided(session, weights_sha256, wanted, limit)
    for key, label in _labelled(session, weights_sha256, wanted, limit).items():
        found.setdefault(key, Found(key, label.person, label.kind, label.description, label.tags, decided=False))
    return [found[key] for key in sorted(found)[:limit]]


def _decided(session: Session, weights_sha256: str, wanted: str, limit: int) -> dict[KeyId, Found]:
    chosen = (
        adjudication.select_in_force(weights_sha256)
        .where(_contains(Adjudication.description, wanted))
        .order_by(Adjudication.layer, Adjudication.key_index, Adjudication.stack)
        .limit(limit)
    )
    return {
        each.key: Found(each.key, each.person, each.kind, each.description, (), decided=True)
        for each in session.scalars(chosen)
        if each.kind is not None
    }


def _labelled(session: Session, weights_sha256: str, wanted: str, limit: int) -> dict[KeyId, Label]:
    """The first matching label of each key, of so many keys."""
    chosen = (
        select(Label)
        .where(Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None))
        .where(_contains(Label.description, wanted) | _tagged(session, wanted))
        .order_by(Label.layer, Label.key_index, Label.stack, Label.person)
    )
    found: dict[KeyId, Label] = {}
    with closing(session.scalars(chosen.execution_options(yield_per=BATCH))) as labels:
        for label in labels:
            if label.key not in found and len(found) == limit:
                break
            found.setdefault(label.key, label)
    return found


def _contains(column: Any, wanted: str) -> ColumnElement[bool]:
    return func.lower(column).contains(wanted, autoescape=True)


def _tagged(session: Session, wanted: str) -> ColumnElement[bool]:
    # Not the text of the JSON: it escapes characters, and has brackets, quotes and commas of its own.
    sqlite = session.get_bind().dialect.name == "sqlite"
    tags = func.json_each(Label.tags) if sqlite else func.json_array_elements_text(Label.tags)
    tag = tags.table_valued("value", name="tag")
    return exists(select(literal(1)).select_from(tag).where(_contains(tag.c.value, wanted)))
