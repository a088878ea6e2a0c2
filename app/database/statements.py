"""Statements that SQLite and PostgreSQL both run well: many keys at once, and inserts that may meet an existing row."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Integer, Select, String, and_, column, values
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from keyscope.app.database.base import Base
from keyscope.contract.keys import KeyId

MOST = 200
"""Keys, or other values, in one statement."""
Each = TypeVar("Each")


def portions(items: Sequence[Each]) -> Iterator[Sequence[Each]]:
    """The items, `MOST` at a time."""
    return (items[start : start + MOST] for start in range(0, len(items), MOST))


def about_keys(chosen: Select[Any], table: Any, weights_sha256: str, keys: Sequence[KeyId]) -> Select[Any]:
    """Narrow a query on a table to rows about these keys."""
    # SQLite finds no index for a list of pairs; joined to a table of them, each pair is looked up in the index.
    columns = column("layer", Integer), column("key_index", Integer), column("stack", String)
    wanted = values(*columns, name="wanted").data([(key.layer, key.index, key.stack) for key in keys]).cte()
    same = (getattr(table, each.name) == wanted.c[each.name] for each in columns)
    return chosen.select_from(wanted).join(table, and_(table.weights_sha256 == weights_sha256, *same))


def insert_into(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An insert that can take an `on_conflict_do_update` clause."""
    return sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)
