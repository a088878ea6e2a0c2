"""The sender of a request: a person with a role, or somebody who has not given a name."""

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
"""The credentials of programs, for the API's documentation; admission reads them before any route runs."""


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: Role
    account_id: int | None = None
    """The person's account; None without accounts."""
    session_id: int | None = None
    """The browser's session; None for a program with a token."""
    presence: Presence | None = None
    """The session or token the person was admitted with; None without accounts."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person in a signed-in browser; never a program with a token."""

    person: Person
    account_id: int
    session_id: int


class NameNeeded(KeyscopeError, status=422):
    """The action needs a name, and the server has no accounts to take it from."""


class NotSignedIn(KeyscopeError, status=401):
    """The sender has not signed in, or the credentials are not valid."""

    challenge = "Bearer"


class TokenExpired(NotSignedIn):
    """The program's token has expired."""

    challenge = 'Bearer error="invalid_token"'


class Forbidden(KeyscopeError, status=403):
    """The person's role does not allow the action."""


def require(person: Person, needed: Role) -> None:
    """Check that the person has at least the role.

    Raises:
        Forbidden: the role is too low.
    """
    if not person.role.may(needed):
        raise Forbidden(f"{person.name} is a {person.role}, but this needs the role {needed}: ask an admin")


async def _visitor(request: Request) -> Person | None:
    # Set by the admission middleware before routing; a request that skipped it fails here.
    visitor: Person | None = request.state.visitor
    return visitor


Visitor = Annotated[Person | None, Depends(_visitor)]
"""The sender of a request; None without accounts if they have not given a name."""


def _named(needed: Role) -> Any:
    async def check(visitor: Visitor) -> Person:
        if visitor is None:
            raise NameNeeded(f"this needs a name: enter yours, or send it in the header {NAME_HEADER}")
        require(visitor, needed)
        return visitor

    return Depends(check)


Labeler = Annotated[Person, _named(Role.LABELER)]
"""A person who may label; anybody else gets NameNeeded or Forbidden."""
Admin = Annotated[Person, _named(Role.ADMIN)]
"""A person who may manage; anybody else gets NameNeeded or Forbidden."""


async def _signed_in(visitor: Visitor) -> SignedIn:
    if visitor is None or visitor.account_id is None or visitor.session_id is None:
        # If a token could make tokens or change passwords, revoking it would not end the access.
        raise Forbidden("accounts can only be managed in a signed-in browser, not with a token")
    return SignedIn(visitor, visitor.account_id, visitor.session_id)


AtBrowser = Annotated[SignedIn, Depends(_signed_in)]
"""A person signed in with this browser; anybody else gets Forbidden."""


def needs(role: Role) -> Any:
    """A dependency for routes that need a role but no name; without accounts, people who gave no name pass too."""

    async def check(visitor: Visitor) -> None:
        if visitor is not None:
            require(visitor, role)

    return Depends(check)
