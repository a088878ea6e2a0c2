"""A file on disk for more byte strings than fit into memory: written once, read in any order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

from keyscope.contract.errors import KeyscopeError


class ScratchUnwritable(KeyscopeError, status=507):
    """The scratch directory is full or cannot be written."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Place of a byte string in its spool."""

    offset: int
    size: int


class Spool:
    """An append-only file in a folder, replacing an older one of its name; without a name it vanishes when closed.

    Raises:
        ScratchUnwritable: the file cannot be created or, when appending, the disk is full.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.path = folder / name if name else folder
        self._end = 0
        with _writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.path.open("wb+") if name else TemporaryFile(dir=folder)  # noqa: SIM115 - kept open

    def append(self, data: bytes) -> Extent:
        """Write a byte string at the end."""
        with _writing(self.path):
            self._file.seek(self._end)
            self._file.write(data)
        extent = Extent(self._end, len(data))
        self._end += len(data)
        return extent

    def read(self, extent: Extent) -> bytes:
        """Read a byte string back."""
        self._file.seek(extent.offset)
        return self._file.read(extent.size)

    def close(self) -> None:
        """Flush and close; a named file stays."""
        with _writing(self.path):
            self._file.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScratchUnwritable(
            f"{path} cannot be written: {error.strerror or error}; free space there or choose another scratch directory"
        ) from error
