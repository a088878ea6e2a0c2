"""Read and save concepts; shipped ones cannot be changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from keyscope.app.concepts.models import ConceptVersion
from keyscope.app.errors import NotFound
from keyscope.contract.concepts import SHIPPED, Concept
from keyscope.contract.errors import KeyscopeError

_SHIPPED = {concept.name: concept for concept in SHIPPED}


class UnknownConcept(NotFound):
    """No concept with that name was shipped or saved."""


class NameTaken(KeyscopeError, status=409):
    """A concept with that name already exists."""


class ConceptChanged(KeyscopeError, status=409):
    """The concept changed after it was last seen."""


@dataclass(frozen=True, slots=True)
class KnownConcept:
    """A shipped or saved concept."""

    concept: Concept
    version: int = 0
    """0 for a shipped concept."""
    person: str | None = None
    created_at: datetime | None = None

    @property
    def shipped(self) -> bool:
        return self.version == 0


def known_concepts(session: Session) -> list[KnownConcept]:
    """Shipped concepts, then the latest version of each saved one, by name."""
    latest = select(func.max(ConceptVersion.id)).group_by(ConceptVersion.name)
    saved = session.scalars(select(ConceptVersion).where(ConceptVersion.id.in_(latest)).order_by(ConceptVersion.name))
    return [*shipped_concepts(), *map(_known, saved)]


def shipped_concepts() -> list[KnownConcept]:
    """The concepts that come with Keyscope."""
    return [KnownConcept(concept) for concept in SHIPPED]


def get_concept(session: Session, name: str) -> KnownConcept:
    """The latest version of the concept with that name.

    Raises:
        UnknownConcept: there is none.
    """
    if name in _SHIPPED:
        return KnownConcept(_SHIPPED[name])
    latest = _latest(session, name)
    if latest is None:
        raise UnknownConcept(f"there is no concept {name!r}: see the list of concepts, or define it")
    return _known(latest)


def versions(session: Session, name: str) -> Sequence[KnownConcept]:
    """Every version of a saved concept, the latest first; empty for a shipped one."""
    chosen = select(ConceptVersion).where(ConceptVersion.name == name).order_by(ConceptVersion.number.desc())
    return [_known(version) for version in session.scalars(chosen)]


def save_concept(session: Session, concept: Concept, person: str, based_on: int = 0) -> KnownConcept:
    """Save a new concept, or a new version of one; `based_on` is the version the change started from, 0 for none.

    A definition equal to the latest version adds none.

    Raises:
        NameTaken: the concept should be new, but the name already has another definition.
        ConceptChanged: the latest version is not `based_on`.
    """
    if concept.name in _SHIPPED:
        raise NameTaken(f"{concept.name} comes with Keyscope and cannot be changed: choose another name")
    latest = _latest(session, concept.name)
    if latest is not None and latest.concept == concept:
        return _known(latest)
    number = latest.number if latest is not None else 0
    if number != based_on:
        if not based_on:
            raise NameTaken(f"there is already a concept {concept.name}: change that one, or choose another name")
        raise ConceptChanged(
            f"{concept.name} is now at version {number}, but you changed version {based_on}: "
            "look at the latest version, then change that"
        )
    version = ConceptVersion(
        name=concept.name,
        number=number + 1,
        title=concept.title,
        description=concept.description,
        patterns={name: pattern.model_dump(exclude_none=True) for name, pattern in concept.patterns.items()},
        person=person,
        created_at=datetime.now(UTC),
    )
    session.add(version)
    session.flush()
    return _known(version)


def _latest(session: Session, name: str) -> ConceptVersion | None:
    chosen = select(ConceptVersion).where(ConceptVersion.name == name).order_by(ConceptVersion.number.desc()).limit(1)
    return session.scalars(chosen).one_or_none()


def _known(version: ConceptVersion) -> KnownConcept:
    return KnownConcept(version.concept, version.number, version.person, version.created_at)
