"""How often somebody may try to sign in: a few times at once, then slowly, under each name and from each address.

Each try adds its cost to a bucket that empties with time (the generic cell rate algorithm), one number in one statement,
so tries at the same moment count too, whichever server process takes them.
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


class TooManyAttempts(KeyscopeError):
    """Signing in was tried too often under this name or from this address."""

    code = "too_many_attempts"
    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"there were too many tries to sign in: wait {retry_after} seconds, then try again")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` tries at once, then one every `seconds`."""

    burst: int
    seconds: float


PER_NAME = Pace(burst=10, seconds=60)
PER_ADDRESS = Pace(burst=30, seconds=20)
"""More than a name's, for a whole team may share an address."""


def count_attempt(session: Session, name: str, address: str) -> None:
    """Count a try before its password is looked at.

    Raises:
        TooManyAttempts: there were too many; rolled back with its transaction, the refused try itself costs nothing.
    """
    session.execute(delete(SignInAttempts).where(SignInAttempts.clear_at < time.time()))
    # Always in this order, so that two tries never wait for each other.
    for bucket, pace in ((_of_address(address), PER_ADDRESS), (_of_name(name), PER_NAME)):
        _fill(session, bucket, pace)


def forget_name(session: Session, name: str) -> None:
    """Forget the tries under a name after one that was right; those from its address go on counting."""
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
    """One bucket for a whole /64 of IPv6, which is what one customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        network = address
    else:
        network = str(ipaddress.ip_network((parsed, 64 if parsed.version == 6 else 32), strict=False))
    return hashlib.sha256(f"address {network}".encode()).hexdigest()
