"""Limit attempts to sign in: a burst at first, then a slow rate.

Attempts are limited under a name from an address, from an address whatever the name, and, far more generously, under a
name wherever they come from: otherwise a few strangers could keep a person out. A browser that has signed in to the
name before is limited by itself alone, so its person gets in however hard others try.

Each attempt adds its cost to a bucket that drains with time (the generic cell rate algorithm). A bucket is one number,
updated in one statement, so simultaneous attempts all count, in whichever server process.
"""

import hashlib
import ipaddress
import math
import time
from dataclasses import dataclass

from sqlalchemy import case, delete
from sqlalchemy.orm import Session

from keyscope.app.accounts.models import SignInAttempts
from keyscope.app.accounts.names import folded
from keyscope.app.database.statements import insert_into
from keyscope.contract.errors import KeyscopeError


class TooManyAttempts(KeyscopeError, status=429):
    """There were too many attempts to sign in under this name, from this address or in this browser."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts to sign in: wait {retry_after} seconds, then try again")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` attempts at once, then one every `seconds`."""

    burst: int
    seconds: float


PER_DEVICE = Pace(burst=10, seconds=60)
PER_NAME_AND_ADDRESS = Pace(burst=10, seconds=60)
PER_ADDRESS = Pace(burst=30, seconds=20)
"""Higher than for one name, because a whole team may share an address."""
PER_NAME = Pace(burst=100, seconds=30)


def count_attempt(session: Session, name: str, address: str, device: str | None) -> None:
    """Count an attempt before its password is checked; `device` is a browser that has signed in to the name before.

    Raises:
        TooManyAttempts: there were too many. The transaction is rolled back, so the refused attempt is not counted.
    """
    session.execute(delete(SignInAttempts).where(SignInAttempts.clear_at < time.time()))
    # Always in this order, so two attempts cannot deadlock.
    if device is None:
        _fill(session, _of_address(address), PER_ADDRESS)
        _fill(session, _of_name(name), PER_NAME)
        _fill(session, _of_both(name, address), PER_NAME_AND_ADDRESS)
    else:
        _fill(session, _of_device(device), PER_DEVICE)


def forget_attempts(session: Session, name: str, address: str, device: str | None) -> None:
    """Forget what a person tried before they succeeded; those limits that they share with others still count."""
    own = _of_both(name, address) if device is None else _of_device(device)
    session.execute(delete(SignInAttempts).where(SignInAttempts.bucket == own))


def _fill(session: Session, bucket: str, pace: Pace) -> None:
    now = time.time()
    present = SignInAttempts.clear_at
    statement = insert_into(session, SignInAttempts).values(bucket=bucket, clear_at=now + pace.seconds)
    clear_at = session.scalar(
        statement.on_conflict_do_update(
            index_elements=[SignInAttempts.bucket],
            set_={"clear_at": case((present > now, present), else_=now) + pace.seconds},
        ).returning(present)
    )
    assert clear_at is not None
    excess = clear_at - now - pace.burst * pace.seconds
    if excess > 0:
        raise TooManyAttempts(math.ceil(excess))


def _of_name(name: str) -> str:
    return _bucket(f"name {folded(name)}")


def _of_address(address: str) -> str:
    return _bucket(f"address {_network(address)}")


def _of_both(name: str, address: str) -> str:
    return _bucket(f"both {_network(address)} {folded(name)}")


def _of_device(device: str) -> str:
    return _bucket(f"device {device}")


def _bucket(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()


def _network(address: str) -> str:
    """An IPv4 address or an IPv6 /64, the block a single customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64 if parsed.version == 6 else 32), strict=False))
