"""Whether people still have what they were let in with: asked again by answers that go on for as long as they look."""

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from keyscope.app.accounts import sessions, tokens
from keyscope.app.database.many_keys import MOST
from keyscope.app.roles import Role


@dataclass(frozen=True, slots=True)
class Presence:
    """The session or token that somebody was let in with, and the role that they had."""

    secret_sha256: str = field(repr=False)
    role: Role


def ended(session: Session, asked: Collection[Presence]) -> set[Presence]:
    """Those whose session or token has ended, or whose role was taken away, since they were let in."""
    secrets = sorted({each.secret_sha256 for each in asked})
    roles: dict[str, Role] = {}
    for start in range(0, len(secrets), MOST):
        portion = secrets[start : start + MOST]
        roles |= {each.secret_sha256: each.account.role for each in sessions.holding(session, portion)}
        roles |= {each.secret_sha256: tokens.role_of(each) for each in tokens.holding(session, portion)}
    return {each for each in asked if (role := roles.get(each.secret_sha256)) is None or not role.may(each.role)}
