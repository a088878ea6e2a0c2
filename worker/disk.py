"""Readable errors for full or read-only disks."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from keyscope.worker.precompute.errors import OutputUnwritable

_OUR_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EFBIG,
}


@contextmanager
def readable_disk_errors(out: Path, remedy: str) -> Iterator[None]:
    """Turn errors of a full or read-only disk into a sentence.

    Args:
        out: the folder being written.
        remedy: what to do about it.

    Raises:
        OutputUnwritable: instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OUR_DISK:
            raise
        raise OutputUnwritable(f"{out} cannot be written ({os.strerror(error.errno)}): {remedy}") from error
    except duckdb.IOException as error:
        raise OutputUnwritable(f"the run file in {out} cannot be written: {str(error).splitlines()[0]}") from error


def allocate(path: Path) -> None:
    """Allocate the blocks of a sparse file now: on a full disk, writing to a mapped file would kill the process (SIGBUS)."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(descriptor).st_size
        if size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
