"""Who sends a request: a person with a role, or somebody who has not said who they are."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Request

from app.labels.people import person_name
from contract.errors import KeyscopeError

COOKIE = "keyscope-person"
"""Cookie with the display name, percent-encoded, where nobody signs in."""


class Role(StrEnum):
    """What a person may do; each role may do what the ones before it may."""

    VIEWER = "viewer"
    LABELER = "labeler"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Does this role do for what needs the other?"""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody known by name."""

    name: str
    role: Role


class NameNeeded(KeyscopeError):
    """Nobody signs in here, but this has to be done under a name."""

    code = "name_needed"
    status = 422


class Forbidden(KeyscopeError):
    """The person's role does not allow it."""

    code = "forbidden"
    status = 403


def identify(
    request: Request,
    x_keyscope_person: Annotated[str | None, Header(description="Who sends the request, where nobody signs in")] = None,
) -> Person | None:
    """The person by their own word, from the header or the cookie; None where they have not said.

    Raises:
        InvalidParameter: the name cannot be one.
    """
    if x_keyscope_person is not None:
        return Person(person_name(_utf8(x_keyscope_person)), Role.ADMIN)
    cookie = unquote(request.cookies.get(COOKIE, ""))
    return Person(person_name(cookie), Role.ADMIN) if cookie else None


Visitor = Annotated[Person | None, Depends(identify)]
"""Whoever looks at a page; None where they have not said who they are."""


def _labeler(visitor: Visitor) -> Person:
    return _with(visitor, Role.LABELER)


def _admin(visitor: Visitor) -> Person:
    return _with(visitor, Role.ADMIN)


Labeler = Annotated[Person, Depends(_labeler)]
"""A person who may label; NameNeeded or Forbidden for everybody else."""
Admin = Annotated[Person, Depends(_admin)]
"""A person who may manage; NameNeeded or Forbidden for everybody else."""


def _with(visitor: Person | None, needed: Role) -> Person:
    if visitor is None:
        raise NameNeeded("this is done under a name: give yours, programs in the header X-Keyscope-Person")
    if not visitor.role.may(needed):
        raise Forbidden(f"{visitor.name} is a {visitor.role} and this needs a {needed}: ask an admin")
    return visitor


def _utf8(header: str) -> str:
    # HTTP hands header bytes over as Latin-1.
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
