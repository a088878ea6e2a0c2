"""Archives as sources, read in place: no member is ever written under a name the archive chose."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, cast

from keyscope.worker.corpus.directory import LEFT_OUT
from keyscope.worker.corpus.files import MAX_BYTES, Skip, Skipped, printable
from keyscope.worker.corpus.interface import Listed, SourceUnreadable
from keyscope.worker.corpus.languages import language_of
from keyscope.worker.corpus.spool import Extent, Spool

ZIP_SUFFIXES = (".zip", ".whl", ".jar")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz")

_DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


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

    def paths(self, languages: Collection[str]) -> Iterator[str]:
        """See `Listed.paths`; of members with the same name the last one counts, as when unpacking."""
        for info in self._zip.infolist():
            path = None if info.is_dir() else _member_path(info.filename)
            if path and language_of(path) in languages and not stat.S_ISLNK(info.external_attr >> 16):
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

    def paths(self, languages: Collection[str]) -> Iterator[str]:
        """See `Listed.paths`; of members with the same name the last one counts, as when unpacking.

        Raises:
            SourceUnreadable: the file is not a tar archive, or is damaged.
        """
        try:
            # not in stream mode, which takes a truncated file for a complete one
            with tarfile.open(self._path, "r:*") as archive:
                self._copy(archive, languages)
        except _DAMAGED as error:
            raise SourceUnreadable(f"{self._path} is not a tar archive, or is damaged or truncated: {error}") from error
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

    def _copy(self, archive: tarfile.TarFile, languages: Collection[str]) -> None:
        while (member := archive.next()) is not None:
            path = _member_path(member.name)
            if path and language_of(path) in languages and member.isreg():
                content = archive.extractfile(member) if member.size <= MAX_BYTES else None
                self._extents[path] = self._spool.append(content.read()) if content else None
            cast(Any, archive).members.clear()  # else it would remember every member it passed


def _member_path(name: str) -> str | None:
    """A member's path as shown; None if it leads out of the archive or is in a directory left out."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not LEFT_OUT.isdisjoint(path.parts[:-1]):
        return None
    return printable(str(path))
