"""Sessions of browsers: begun at each sign-in under a new secret, known by its digest, ended by time or by hand."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from keyscope.app.accounts.credentials import digest, new_secret
from keyscope.app.accounts.models import Account, BrowserSession

LASTS = timedelta(days=14)


def begin(session: Session, account_id: int, browser: str) -> str:
    """Sign a browser in; answers the secret for its cookie, which is nowhere else."""
    now = datetime.now(UTC)
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))
    secret = new_secret()
    session.add(
        BrowserSession(
            account_id=account_id,
            secret_sha256=digest(secret),
            browser=browser[:200],
            created_at=now,
            seen_at=now,
            expires_at=now + LASTS,
        )
    )
    session.flush()
    return secret


def find(session: Session, secret: str) -> BrowserSession | None:
    """The session of a cookie that still holds, of a person who may sign in."""
    return next(iter(holding(session, [digest(secret)])), None)


def holding(session: Session, digests: Collection[str]) -> list[BrowserSession]:
    """Those of the sessions with these digests that still hold, of people who may sign in."""
    chosen = (
        select(BrowserSession)
        .join(BrowserSession.account)
        .where(
            BrowserSession.secret_sha256.in_(digests),
            BrowserSession.expires_at > datetime.now(UTC),
            Account.disabled_at.is_(None),
        )
    )
    return list(session.scalars(chosen))


def of_account(session: Session, account_id: int) -> list[BrowserSession]:
    """A person's sessions that still hold, the last used first."""
    chosen = select(BrowserSession).where(
        BrowserSession.account_id == account_id, BrowserSession.expires_at > datetime.now(UTC)
    )
    return list(session.scalars(chosen.order_by(BrowserSession.seen_at.desc())))


def end(session: Session, account_id: int, session_id: int) -> None:
    """End one session of a person; nothing where it has ended already."""
    session.execute(
        delete(BrowserSession).where(BrowserSession.id == session_id, BrowserSession.account_id == account_id)
    )


def end_of(session: Session, secret_sha256: str) -> None:
    """End the session of a secret; a number would not do where another session may have begun, for SQLite gives it again."""
    session.execute(delete(BrowserSession).where(BrowserSession.secret_sha256 == secret_sha256))


def end_all(session: Session, account_id: int, but: int | None = None) -> None:
    """End all sessions of a person, one perhaps left."""
    gone = delete(BrowserSession).where(BrowserSession.account_id == account_id)
    session.execute(gone if but is None else gone.where(BrowserSession.id != but))
