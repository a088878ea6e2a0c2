"""Concepts in the labels database: versions kept, names told apart, nothing overwritten silently."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from keyscope.app.concepts.models import ConceptVersion
from keyscope.app.concepts.repository import (
    ConceptChanged,
    KnownConcept,
    NameTaken,
    UnknownConcept,
    get_concept,
    known_concepts,
    save_concept,
    versions,
)
from keyscope.app.database.engine import Database
from keyscope.contract.concepts import SHIPPED, Concept, define
from keyscope.contract.errors import KeyscopeError


def concept(name: str = "mine", regex: str = "a+", title: str = "Mine") -> Concept:
    patterns = {"python": {"regex": regex}, "go": {"identifiers": ["a", "b"]}}
    return define({"name": name, "title": title, "patterns": patterns})


def save(database: Database, given: Concept, based_on: int = 0) -> KnownConcept:
    return database.write(lambda session: save_concept(session, given, "Ada", based_on))


def test_a_saved_concept_is_found_as_it_was_defined_after_the_shipped_ones(database: Database) -> None:
    save(database, concept("zeta"))
    save(database, concept())
    known = database.read(known_concepts)
    assert [each.concept for each in known] == [*SHIPPED, concept(), concept("zeta")]
    assert [each.shipped for each in known] == [True] * 12 + [False] * 2
    found = database.read(lambda session: get_concept(session, "mine"))
    assert (found.version, found.person, found.concept.sha256) == (1, "Ada", concept().sha256)


def test_every_version_is_kept_and_the_latest_is_in_force(database: Database) -> None:
    save(database, concept())
    assert save(database, concept(regex="b+"), based_on=1).version == 2
    assert database.read(lambda session: get_concept(session, "mine")).concept == concept(regex="b+")
    kept = database.read(lambda session: versions(session, "mine"))
    assert [(each.version, each.concept) for each in kept] == [(2, concept(regex="b+")), (1, concept())]


def test_a_pattern_that_this_version_no_longer_allows_is_still_listed_and_can_be_replaced(database: Database) -> None:
    save(database, concept())
    patterns = {"python": {"regex": r"(\pL{500}){2}"}}
    database.write(lambda session: session.execute(update(ConceptVersion).values(patterns=patterns)))
    assert database.read(known_concepts)[-1].concept.patterns["python"].regex == r"(\pL{500}){2}"
    assert save(database, concept(), based_on=1).version == 2


def test_saying_the_same_again_adds_nothing(database: Database) -> None:
    save(database, concept())
    assert save(database, concept()).version == 1
    assert save(database, concept(), based_on=7).version == 1


def test_nothing_is_overwritten_silently(database: Database) -> None:
    save(database, concept())
    with pytest.raises(NameTaken, match="already a concept mine"):
        save(database, concept(regex="b+"))
    save(database, concept(regex="b+"), based_on=1)
    with pytest.raises(ConceptChanged, match=r"now at version 2.*version 1"):
        save(database, concept(regex="c+"), based_on=1)
    with pytest.raises(ConceptChanged, match="now at version 0"):
        save(database, concept("other"), based_on=3)


def test_what_is_shipped_stays_as_it_is(database: Database) -> None:
    with pytest.raises(NameTaken, match="numpy comes with Keyscope"):
        save(database, concept("numpy"), based_on=1)
    assert database.read(lambda session: get_concept(session, "numpy")).shipped
    assert database.read(lambda session: versions(session, "numpy")) == []


def test_an_unknown_name_is_named(database: Database) -> None:
    with pytest.raises(UnknownConcept, match="'nothing'"):
        database.read(lambda session: get_concept(session, "nothing"))


def test_of_several_at_once_one_is_first_and_the_others_hear_of_it(database: Database) -> None:
    def attempt(number: int) -> str:
        try:
            return f"version {save(database, concept(regex='x' * (number + 1))).version}"
        except KeyscopeError as error:
            return error.code

    with ThreadPoolExecutor(6) as pool:
        told = sorted(pool.map(attempt, range(6)))
    assert told == ["name_taken"] * 5 + ["version 1"]
