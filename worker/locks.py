"""Locks between processes, so two never work on one folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyscope.contract.errors import KeyscopeError


class InUse(KeyscopeError, status=409):
    """Another process is at work there."""


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold `PATH.lock`, which is removed afterwards; the kernel releases it if this process dies.

    Raises:
        InUse: another process holds it, and `wait` is not set.
    """
    lock = lock_of(path)
    while True:
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InUse(f"another process is at work in {path}: wait for it or stop it") from None
            if not _is_at(file.fileno(), lock):
                continue  # whoever held it has removed it
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def lock_of(path: Path) -> Path:
    """The file whose lock protects a path."""
    return path.with_name(path.name + ".lock")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
