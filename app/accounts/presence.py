"""Whether people still have the access they were admitted with; asked again while a response streams."""

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from keyscope.app.accounts import sessions, tokens
from keyscope.app.database.statements import portions
from keyscope.app.roles import Role


@dataclass(frozen=True, slots=True)
class Presence:
    """The session or token a person was admitted with, and their role at that time."""

    secret_sha256: str = field(repr=False)
    role: Role


def ended(session: Session, asked: Collection[Presence]) -> set[Presence]:
    """Those whose session or token has ended, or whose role was lowered, since they were admitted."""
    secrets = sorted({each.secret_sha256 for each in asked})
    roles: dict[str, Role] = {}
    for portion in portions(secrets):
        roles |= {each.secret_sha256: each.account.role for each in sessions.holding(session, portion)}
        roles |= {each.secret_sha256: tokens.role_of(each) for each in tokens.holding(session, portion)}
    return {each for each in asked if (role := roles.get(each.secret_sha256)) is None or not role.may(each.role)}
