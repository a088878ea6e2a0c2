"""Who sends a request: a person with a role, or somebody who has not said who they are."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from keyscope.app.accounts.presence import Presence
from keyscope.app.roles import Role
from keyscope.contract.errors import KeyscopeError

NAME_HEADER = "X-Keyscope-Person"
CREDENTIALS = [
    Security(HTTPBearer(auto_error=False, description="A token, where people sign in")),
    Security(APIKeyHeader(name=NAME_HEADER, auto_error=False, description="Your name in UTF-8, where nobody signs in")),
]
"""What a program says who it is by, for the API's documentation; it is read before any route is chosen."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody known by name."""

    name: str
    role: Role
    account_id: int | None = None
    """The person's account, where people sign in."""
    session_id: int | None = None
    """The session of the browser; None for a program with a token."""
    presence: Presence | None = None
    """What the person was let in with, where people sign in."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person at a browser that is signed in; no program with a token is one."""

    person: Person
    account_id: int
    session_id: int


class NameNeeded(KeyscopeError):
    """Nobody signs in here, but this has to be done under a name."""

    code = "name_needed"
    status = 422


class NotSignedIn(KeyscopeError):
    """Whoever asks has not signed in, or not validly."""

    code = "not_signed_in"
    status = 401
    challenge = "Bearer"


class TokenExpired(NotSignedIn):
    """The time of the token that a program sends is over."""

    code = "token_expired"
    challenge = 'Bearer error="invalid_token"'


class Forbidden(KeyscopeError):
    """The person's role does not allow it."""

    code = "forbidden"
    status = 403


def require(person: Person, needed: Role) -> None:
    """Nothing, for a person who may do what needs the role.

    Raises:
        Forbidden: the person may not.
    """
    if not person.role.may(needed):
        raise Forbidden(f"{person.name} has the role {person.role}, and this needs {needed}: ask an admin")


async def _visitor(request: Request) -> Person | None:
    # Put there on admission, before any route was chosen; without it nothing is answered at all.
    visitor: Person | None = request.state.visitor
    return visitor


Visitor = Annotated[Person | None, Depends(_visitor)]
"""Whoever looks at a page; None where nobody signs in and they have not said who they are."""


async def _labeler(visitor: Visitor) -> Person:
    return _named(visitor, Role.LABELER)


async def _admin(visitor: Visitor) -> Person:
    return _named(visitor, Role.ADMIN)


Labeler = Annotated[Person, Depends(_labeler)]
"""A person who may label; NameNeeded or Forbidden for everybody else."""
Admin = Annotated[Person, Depends(_admin)]
"""A person who may manage; NameNeeded or Forbidden for everybody else."""


async def _signed_in(visitor: Visitor) -> SignedIn:
    if visitor is None or visitor.account_id is None or visitor.session_id is None:
        # A token that could make tokens, or change passwords, would outlive its being revoked.
        raise Forbidden("accounts are managed in a browser that is signed in, not with a token")
    return SignedIn(visitor, visitor.account_id, visitor.session_id)


AtBrowser = Annotated[SignedIn, Depends(_signed_in)]
"""A person who has signed in with this browser; Forbidden for everybody else."""


def needs(role: Role) -> Any:
    """A dependency of routes that need a role but no name: who has not said theirs may use them where nobody signs in."""

    async def check(visitor: Visitor) -> None:
        if visitor is not None:
            require(visitor, role)

    return Depends(check)


def _named(visitor: Person | None, needed: Role) -> Person:
    if visitor is None:
        raise NameNeeded(f"this is done under a name: give yours, programs in the header {NAME_HEADER}")
    require(visitor, needed)
    return visitor
