"""Secrets that sign a browser or a program in, and what of them is kept."""

import hashlib
import secrets

TOKEN_PREFIX = "ks_"  # noqa: S105 - what every token starts with, so that leaked ones can be searched for


def new_secret(prefix: str = "") -> str:
    """A text nobody can guess: 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a secret. It has 256 random bits, so one plain hash is as good as a slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()
