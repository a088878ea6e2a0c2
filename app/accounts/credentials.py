"""Secrets that sign in browsers and programs, and the digests that are stored of them."""

import hashlib
import secrets

TOKEN_PREFIX = "ks_"  # noqa: S105 - the prefix of every token, so leaked ones can be searched for


def new_secret(prefix: str = "") -> str:
    """A secret of 256 random bits as text."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """The stored form of a secret. With 256 random bits, a fast hash is as safe as a slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()
