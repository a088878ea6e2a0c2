"""The building blocks of every table in the labels database."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, DateTime, Enum, String, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, MappedColumn, mapped_column


class Base(DeclarativeBase):
    """The base class of all tables."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite drops the time zone, so it is added back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


def words(enum: type[StrEnum]) -> Enum:
    """The type of a column that stores the values of an enum as text."""
    return Enum(enum, native_enum=False, length=20, values_callable=lambda members: [each.value for each in members])


def author(comment: str) -> MappedColumn[str]:
    """A column for the display name of the person who wrote a row; `author_columns` lists it."""
    return mapped_column(String(100), comment=comment, info={"author": True})


def author_columns() -> list[Column[str]]:
    """Every column made by `author`, in the tables whose modules are imported."""
    tables = Base.metadata.sorted_tables
    return [column for table in tables for column in table.columns if column.info.get("author")]
