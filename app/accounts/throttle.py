"""Limit attempts to sign in, by name and by address: a burst at first, then a slow rate.

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
from keyscope.app.accounts.people import folded
from keyscope.app.database.statements import insert_into
from keyscope.contract.errors import KeyscopeError


class TooManyAttempts(KeyscopeError, status=429):
    """There were too many attempts to sign in under this name or from this address."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts to sign in: wait {retry_after} seconds, then try again")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` attempts at once, then one every `seconds`."""

    burst: int
    seconds: float


PER_NAME = Pace(burst=10, seconds=60)
PER_ADDRESS = Pace(burst=30, seconds=20)
"""Higher than for a name, because a whole team may share an address."""


def count_attempt(session: Session, name: str, address: str) -> None:
    """Count an attempt before its password is checked.

    Raises:
        TooManyAttempts: there were too many. The transaction is rolled back, so the refused attempt is not counted.
    """
    session.execute(delete(SignInAttempts).where(SignInAttempts.clear_at < time.time()))
    # Always in this order, so two attempts cannot deadlock.
    for bucket, pace in ((_of_address(address), PER_ADDRESS), (_of_name(name), PER_NAME)):
        _fill(session, bucket, pace)


def forget_name(session: Session, name: str) -> None:
    """Forget the attempts under a name after a successful one; those from the address still count."""
    session.execute(delete(SignInAttempts).where(SignInAttempts.bucket == _of_name(name)))


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
    return hashlib.sha256(f"name {folded(name)}".encode()).hexdigest()


def _of_address(address: str) -> str:
    """One bucket per IPv4 address or IPv6 /64, the block a single customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        network = address
    else:
        network = str(ipaddress.ip_network((parsed, 64 if parsed.version == 6 else 32), strict=False))
    return hashlib.sha256(f"address {network}".encode()).hexdigest()
