"""The interface of sources, and their errors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from keyscope.contract.errors import KeyscopeError
from keyscope.worker.corpus.files import MAX_BYTES, Skip

ACCEPTED = (
    "a directory, an archive (.zip .whl .jar .tar .tar.gz .tgz .tar.xz), "
    "a .jsonl[.gz|.zst] or .parquet file with columns content, path, repo, lang, hf:NAME[:CONFIG], "
    "or demo[:BYTES], the demo corpus or its files up to that size"
)
"""The kinds of source, for messages and help."""


class SourceNotFound(KeyscopeError, status=400):
    """The source does not exist."""


class UnsupportedSource(KeyscopeError, status=400):
    """The source has a kind or shape that cannot be read."""


class SourceUnreadable(KeyscopeError, status=400):
    """Reading a source failed: it is damaged, truncated or unreachable."""


@dataclass(frozen=True, slots=True)
class Record:
    """One file from a stream; without a project it belongs to its first folder."""

    language: str
    path: str
    data: bytes
    project: str | None = None


class Listed(ABC):
    """A source whose files are listed first and then read one by one, in any order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.only: frozenset[str] | None = None
        """Languages taken from this source; None for all."""
        self.largest = MAX_BYTES
        """Largest size of its files in bytes."""

        self.project_of: Callable[[str], str] | None = None
        """The project of a path; None if the source is one."""
        self.in_turn = False
        """Whether its projects, and sources like it, take turns, where there are more files than wanted."""

    def project(self, path: str) -> str:
        """The project of a file."""
        return self.project_of(path) if self.project_of else self.name

    @abstractmethod
    def paths(self, languages: Collection[str]) -> Iterator[str | Skip]:
        """Paths of all files in these languages, each once, relative with `/`; a reason for a part that cannot be listed.

        Raises:
            SourceUnreadable: listing failed.
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Read a file listed by `paths`.

        Raises:
            Skipped: the file is too large or cannot be read.
        """

    def close(self) -> None:  # noqa: B027 - optional: many sources hold nothing open
        """Close open files."""


class Streamed(ABC):
    """A source that delivers its files in its own order, once."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def records(self, languages: Collection[str]) -> Iterator[Record | Skip]:
        """Yield all files in these languages, and a reason for each row that cannot be read.

        Raises:
            SourceNotFound: the data set cannot be opened.
            UnsupportedSource: the rows lack what is needed.
            SourceUnreadable: reading failed.
        """


Source = Listed | Streamed
