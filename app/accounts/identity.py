"""The sender of a request: a person with a role, or somebody who has not given a name."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from keyscope.app.accounts.names import person_name
from keyscope.app.accounts.presence import Presence
from keyscope.app.roles import Role
from keyscope.contract.errors import KeyscopeError

NAME_HEADER = "X-Keyscope-Person"
NAME_FIELD = "visitor_name"
"""Field by which a form says whose it is, where nobody signs in and the browser does not know a name yet."""
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


Sent = tuple[tuple[str, str], ...]
"""The fields of a form, in order; a name may occur several times."""


class NameNeeded(KeyscopeError, status=422):
    """The action needs a name, and the server has no accounts to take it from.

    `sent` are the fields of the form that asked for it, to be sent again with a name; None if that is impossible.
    """

    def __init__(self, detail: str, sent: Sent | None = None) -> None:
        super().__init__(detail)
        self.sent = sent


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
    async def check(request: Request, visitor: Visitor) -> Person:
        person = visitor or await _introduced(request)
        require(person, needed)
        return person

    return Depends(check)


async def _introduced(request: Request) -> Person:
    """The person a form names as its sender; the browser then remembers the name.

    Raises:
        NameNeeded: there is no form, or it names nobody.
        InvalidParameter: what it names cannot be a name.
    """
    # Only admission by word puts this into the state: where people sign in, no form can say who sent it.
    by_word = hasattr(request.state, "introduced")
    sent = await _fields(request) if by_word else None
    names = [value for name, value in sent or () if name == NAME_FIELD]
    if not names:
        raise NameNeeded(f"this needs a name: enter yours, or send it in the header {NAME_HEADER}", sent)
    person = Person(person_name(names[0]), Role.ADMIN)
    request.state.visitor = request.state.introduced = person
    return person


async def _fields(request: Request) -> Sent | None:
    """The fields of the form in the body; None if there is none, or one with a file, which cannot be sent again."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return None
    return tuple((name, str(value)) for name, value in (await request.form()).multi_items())


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
