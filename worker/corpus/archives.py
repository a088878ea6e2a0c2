"""Archives as sources, read in place: no member is ever written under a name the archive chose."""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from keyscope.worker.corpus.directory import LEFT_OUT
from keyscope.worker.corpus.files import MAX_BYTES, Skip, Skipped, printable
from keyscope.worker.corpus.interface import Listed, SourceUnreadable
from keyscope.worker.corpus.languages import language_of
from keyscope.worker.corpus.spool import Extent, Spool

ZIP_SUFFIXES = (".zip", ".whl", ".jar")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz")

HEADER_BYTES = 1_000_000
"""Most bytes in front of a tar member: its headers, and those of the whole archive that come before it."""

_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    # what tarfile raises where numbers or headers are malformed
    ArithmeticError,
    LookupError,
    RecursionError,
)


class ZipArchive(Listed):
    """A zip file; thanks to its directory, members are read in any order.

    Raises:
        SourceUnreadable: the file is not a zip archive, or its directory is damaged.
    """

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(name)
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise SourceUnreadable(f"{path} is not a zip archive, or is damaged or truncated: {error}") from error

    def paths(self, languages: Collection[str]) -> Iterator[str | Skip]:
        """See `Listed.paths`; of members with the same name the last one counts, as when unpacking."""
        for info in self._zip.infolist():
            path = None if info.is_dir() else _member_path(info.filename)
            if path and language_of(path) in languages:
                if stat.S_ISLNK(info.external_attr >> 16):
                    yield Skip.LINK
                else:
                    self._members[path] = info
        yield from self._members

    def read(self, path: str) -> bytes:
        """See `Listed.read`; a member is never unpacked beyond the size limit, whatever size it claims."""
        try:
            with self._zip.open(self._members[path]) as member:
                data = member.read(MAX_BYTES + 1)
        except (*_DAMAGED, RuntimeError):  # an encrypted member or an unknown compression is a RuntimeError
            raise Skipped(Skip.UNREADABLE) from None
        if len(data) > MAX_BYTES:
            raise Skipped(Skip.TOO_LARGE)
        return data

    def close(self) -> None:
        self._zip.close()


class TarArchive(Listed):
    """A tar file, compressed or not.

    A compressed tar can only be read from front to back, so the wanted members are copied to a spool in one pass and
    read from there in any order.
    """

    def __init__(self, path: Path, name: str, scratch: Path) -> None:
        super().__init__(name)
        self._path = path
        self._spool = Spool(scratch)
        self._extents: dict[str, Extent | None] = {}
        self._left_out: list[Skip] = []

    def paths(self, languages: Collection[str]) -> Iterator[str | Skip]:
        """See `Listed.paths`; of members with the same name the last one counts, as when unpacking.

        Raises:
            SourceUnreadable: the file is not a tar archive, or is damaged.
        """
        try:
            with _decompressed(self._path) as file:
                self._copy(_Allowance(file, HEADER_BYTES), languages)
        except _DAMAGED as error:
            raise SourceUnreadable(f"{self._path} is not a tar archive, or is damaged or truncated: {error}") from error
        yield from self._left_out
        yield from self._extents

    def read(self, path: str) -> bytes:
        """See `Listed.read`."""
        extent = self._extents[path]
        if extent is None:
            raise Skipped(Skip.TOO_LARGE)
        return self._spool.read(extent)

    def close(self) -> None:
        """Delete the copies."""
        self._spool.close()

    def _copy(self, file: "_Allowance", languages: Collection[str]) -> None:
        # not in stream mode, which takes a truncated file for a complete one
        with tarfile.open(fileobj=cast(IO[bytes], file), mode="r:") as archive:
            while (member := archive.next()) is not None:
                path = _member_path(member.name)
                wanted = path is not None and language_of(path) in languages and not member.isdir()
                if wanted and not member.isreg():
                    self._left_out.append(Skip.LINK if member.issym() or member.islnk() else Skip.SPECIAL_FILE)
                elif path is not None and wanted:
                    file.allow(MAX_BYTES + tarfile.BLOCKSIZE)
                    content = archive.extractfile(member) if member.size <= MAX_BYTES else None
                    self._extents[path] = self._spool.append(content.read()) if content else None
                # else it would remember every member it passed, and every header of the whole archive
                for passed in (cast(Any, archive).members, cast(Any, archive).pax_headers):
                    passed.clear()
                file.allow(HEADER_BYTES)


class _Allowance:
    """A file of which so many bytes may be read until it allows more: tarfile reads a header whole, whatever its size."""

    def __init__(self, file: IO[bytes], allowed: int) -> None:
        self._file = file
        self._left = allowed
        self.seek, self.tell = file.seek, file.tell

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        """Read.

        Raises:
            tarfile.ReadError: more than allowed.
        """
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError(f"the headers of a member have over {HEADER_BYTES:,} bytes, the most there may be")
        return self._file.read(size)


def _decompressed(path: Path) -> IO[bytes]:
    """Open a tar file, whatever it is compressed with."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    return cast(IO[bytes], lzma.open(path)) if start == b"\xfd7zXZ\0" else path.open("rb")


def _member_path(name: str) -> str | None:
    """A member's path as shown; None if it leads out of the archive or is in a directory left out."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not LEFT_OUT.isdisjoint(path.parts[:-1]):
        return None
    return printable(str(path))
