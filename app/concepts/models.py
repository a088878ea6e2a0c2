"""The table of concepts that people define."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from keyscope.app.database.base import Base, Moment, author
from keyscope.contract.concepts import LONGEST_NAME, Concept, Pattern


class ConceptVersion(Base):
    """One version of a concept; versions are added, never changed, and the latest is in force."""

    __tablename__ = "concepts"
    __table_args__ = (UniqueConstraint("name", "number", name="concepts_one_after_another"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), comment="Letters, digits and hyphens")
    number: Mapped[int] = mapped_column(comment="1 for the first version, 2 for the one after it")
    title: Mapped[str] = mapped_column(String(100), comment="What people call it")
    description: Mapped[str] = mapped_column(Text, comment="Free text")
    patterns: Mapped[dict[str, dict[str, Any]]] = mapped_column(
        JSON, comment="By language: regex, identifiers or query"
    )
    person: Mapped[str] = author("Display name of who defined it so")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was defined so")

    @property
    def concept(self) -> Concept:
        """The concept as it was checked when it was saved.

        This version may be stricter: it then says so where the concept is tried, computed or saved again.
        """
        return Concept.model_construct(
            name=self.name,
            title=self.title,
            description=self.description,
            patterns={language: _pattern(**given) for language, given in self.patterns.items()},
        )


def _pattern(regex: str | None = None, identifiers: list[str] | None = None, query: str | None = None) -> Pattern:
    names = None if identifiers is None else tuple(identifiers)
    return Pattern.model_construct(regex=regex, identifiers=names, query=query)
