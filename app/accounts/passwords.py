"""Passwords: rules, argon2 hashes, and a check that takes equally long for unknown names."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from keyscope.app.errors import InvalidParameter
from keyscope.contract.errors import KeyscopeError

SHORTEST = 12
LONGEST = 500
MOST_WAITING = 16
RETRY_SECONDS = 2
# Each hash takes 64 MiB and most of a core, and anybody can ask for one: half of the cores are left for everything else.
_AT_ONCE = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) // 2))
_STRANGERS = threading.BoundedSemaphore(MOST_WAITING)
_hasher = PasswordHash((Argon2Hasher(),))


class TooManyPasswords(KeyscopeError, status=503):
    """More passwords are to be checked than this server can check soon."""

    retry_after = RETRY_SECONDS


def hash_password(password: str) -> str:
    """The argon2 hash of a new password.

    Raises:
        InvalidParameter: the password is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidParameter(f"a password needs {SHORTEST} to {LONGEST} characters, this one has {len(password)}")
    with _AT_ONCE:
        return _hasher.hash(password)


def is_password(password: str, password_hash: str | None, *, waits: bool) -> bool:
    """Whether the password matches the hash. One hash is computed even if there is none to compare with.

    Raises:
        TooManyPasswords: too many others are checked at the moment; never if `waits`, which waits its turn.
    """
    with _AT_ONCE if waits else _among_strangers():
        same = _hasher.verify(password[:LONGEST], password_hash or _nobodys())
    return same and password_hash is not None


@contextmanager
def _among_strangers() -> Iterator[None]:
    if not _STRANGERS.acquire(blocking=False):
        raise TooManyPasswords(f"many people are signing in: try again in {RETRY_SECONDS} seconds")
    try:
        with _AT_ONCE:
            yield
    finally:
        _STRANGERS.release()


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody's password")
