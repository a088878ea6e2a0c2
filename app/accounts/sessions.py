"""Browser sessions: begun at each sign-in with a new secret, found by its digest, ended by time or by hand."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from keyscope.app.accounts.credentials import digest, new_secret
from keyscope.app.accounts.models import Account, BrowserSession

LASTS = timedelta(days=14)


def begin(session: Session, account_id: int, browser: str) -> str:
    """Sign a browser in and return the secret for its cookie; only its digest is stored."""
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
    """The unexpired session with that secret, if its person may sign in."""
    return next(iter(holding(session, [digest(secret)])), None)


def holding(session: Session, digests: Collection[str]) -> list[BrowserSession]:
    """The unexpired sessions with these digests, of people who may sign in."""
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
    """A person's unexpired sessions, the most recently used first."""
    chosen = select(BrowserSession).where(
        BrowserSession.account_id == account_id, BrowserSession.expires_at > datetime.now(UTC)
    )
    return list(session.scalars(chosen.order_by(BrowserSession.seen_at.desc())))


def end(session: Session, account_id: int, session_id: int) -> None:
    """End one session of a person, if it still exists."""
    session.execute(
        delete(BrowserSession).where(BrowserSession.id == session_id, BrowserSession.account_id == account_id)
    )


def end_of(session: Session, secret_sha256: str) -> None:
    """End the session with a secret. SQLite reuses ids, so an id could by now name somebody else's session."""
    session.execute(delete(BrowserSession).where(BrowserSession.secret_sha256 == secret_sha256))


def end_all(session: Session, account_id: int, but: int | None = None) -> None:
    """End all sessions of a person, except `but`."""
    gone = delete(BrowserSession).where(BrowserSession.account_id == account_id)
    session.execute(gone if but is None else gone.where(BrowserSession.id != but))
