"""Find the concepts of a run: shipped ones, saved ones, and ones known only from its analyses."""

import json

import duckdb

from keyscope.app.concepts import repository
from keyscope.app.concepts.repository import KnownConcept, UnknownConcept
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.queries.values import rows
from keyscope.contract.concepts import InvalidConcept, define

_COMPUTED = "SELECT name, definition FROM concepts ORDER BY concept"


def all_concepts(cursor: duckdb.DuckDBPyConnection, database: Database) -> tuple[list[KnownConcept], str | None]:
    """Every concept once, and why saved ones are missing if the database is unavailable."""
    problem = None
    try:
        known = database.read(repository.known_concepts)
    except DatabaseUnavailable as error:
        known, problem = repository.shipped_concepts(), error.detail
    names = {each.concept.name for each in known}
    return [*known, *(each for each in _computed(cursor) if each.concept.name not in names)], problem


def find_concept(cursor: duckdb.DuckDBPyConnection, database: Database, name: str) -> KnownConcept:
    """The concept with a name.

    Raises:
        UnknownConcept: there is none.
    """
    known, problem = all_concepts(cursor, database)
    found = next((each for each in known if each.concept.name == name), None)
    if found is None:
        there = ", ".join(each.concept.name for each in known)
        raise UnknownConcept(f"there is no concept {name!r}: there are {there}{f'; {problem}' if problem else ''}")
    return found


def _computed(cursor: duckdb.DuckDBPyConnection) -> list[KnownConcept]:
    """The concepts in the run's analyses, which may have been computed next to another database."""
    found: dict[str, KnownConcept] = {}
    for name, definition in rows(cursor, _COMPUTED):
        try:
            found[name] = KnownConcept(define(json.loads(definition)), person="")
        except InvalidConcept:
            continue  # a pattern from another version that this one cannot parse
    return list(found.values())
