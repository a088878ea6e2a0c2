"""Passwords: rules, argon2 hashes, and a check that takes equally long for unknown names."""

import threading
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from keyscope.app.errors import InvalidParameter

SHORTEST = 12
LONGEST = 500
_AT_ONCE = threading.BoundedSemaphore(4)  # each hash takes 64 MiB, and anybody can trigger one
_hasher = PasswordHash((Argon2Hasher(),))


def hash_password(password: str) -> str:
    """The argon2 hash of a new password.

    Raises:
        InvalidParameter: the password is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidParameter(f"a password needs {SHORTEST} to {LONGEST} characters, this one has {len(password)}")
    with _AT_ONCE:
        return _hasher.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether the password matches the hash. One hash is computed even if there is none to compare with."""
    with _AT_ONCE:
        same = _hasher.verify(password[:LONGEST], password_hash or _nobodys())
    return same and password_hash is not None


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody's password")
