"""What every kind of source offers, and the errors of sources."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from keyscope.contract.errors import KeyscopeError
from keyscope.worker.corpus.files import MAX_BYTES, Skip

ACCEPTED = (
    "a directory, an archive (.zip .whl .jar .tar .tar.gz .tgz .tar.xz), "
    "a .jsonl[.gz|.zst] or .parquet file with columns content, path, repo, lang, hf:NAME[:CONFIG], "
    "or demo[:BYTES], the demo corpus or its files up to that size"
)
"""The sources there are, for messages and help."""


class SourceNotFound(KeyscopeError):
    """A source that is not there."""

    code = "source_not_found"
    status = 400


class UnsupportedSource(KeyscopeError):
    """A source of a kind or shape that cannot be read."""

    code = "unsupported_source"
    status = 400


class SourceUnreadable(KeyscopeError):
    """A source that broke off: damaged, cut short, or out of reach."""

    code = "source_unreadable"
    status = 400


@dataclass(frozen=True, slots=True)
class Record:
    """One file that a stream delivered."""

    language: str
    path: str
    data: bytes


class Listed(ABC):
    """A source whose files are listed first and then read one by one, in any order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.only: frozenset[str] | None = None
        """Languages taken from this source; every language where None."""
        self.largest = MAX_BYTES
        """Size in bytes beyond which its files are too large."""

    @abstractmethod
    def paths(self, languages: Collection[str]) -> Iterator[str | Skip]:
        """Paths of all files in these languages, each once, relative and with `/`; a reason where a part is out of reach.

        Raises:
            SourceUnreadable: the source broke off.
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The bytes of a file that `paths` gave.

        Raises:
            Skipped: the file is too large or cannot be read.
        """

    def close(self) -> None:  # noqa: B027 - a source that holds nothing open need not say so
        """Let go of open files."""


class Streamed(ABC):
    """A source that delivers its files in its own order, once."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def records(self, languages: Collection[str]) -> Iterator[Record | Skip]:
        """All files in these languages; a reason in the place of a row that cannot be read.

        Raises:
            SourceNotFound: a data set of that name cannot be had.
            UnsupportedSource: the rows do not hold what is needed.
            SourceUnreadable: the source broke off.
        """


Source = Listed | Streamed
