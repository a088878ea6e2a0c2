"""Collecting files of one language until there are enough, without duplicates."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

from keyscope.worker.corpus.duplicates import Clusters
from keyscope.worker.corpus.files import Skip, Skipped, read_text
from keyscope.worker.corpus.spool import Extent, Spool


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of the corpus, with its bytes in the spool."""

    language: str
    source: str
    path: str
    sha256: str
    extent: Extent
    project: str

    @property
    def identity(self) -> tuple[str, str]:
        """Source and path, by which files are sorted."""
        return self.source, self.path


class Collector:
    """The files of one language.

    Of files with the same content, and of each group of near duplicates, the first by (source, path) is kept, in whatever
    order they come. Only files kept count towards the limit, so duplicates do not use it up.
    """

    def __init__(self, language: str, limit: int, keep_duplicates: bool, spool: Spool, near: bool = False) -> None:
        """Start empty; `near` keeps near duplicates."""
        self.language = language
        self.seen = 0
        self.skipped: Counter[str] = Counter()
        self._limit = limit
        self._spool = spool
        self._files: list[KeptFile] = []
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._by_content: dict[str, int] | None = None if keep_duplicates else {}
        self._clusters: Clusters | None = None if keep_duplicates or near else Clusters()

    @property
    def kept(self) -> int:
        """Number of files kept, as far as known by now."""
        return len(self._files) if self._clusters is None else len(self._clusters)

    @property
    def full(self) -> bool:
        """Whether enough files are kept."""
        return self.kept >= self._limit

    def offer(self, source: str, path: str, data: bytes, project: str) -> None:
        """Add a file.

        Raises:
            Skipped: it does not become part of the corpus.
        """
        read_text(data)
        path = self._numbered(source, path)
        sha256 = hashlib.sha256(data).hexdigest()
        if self._by_content is not None and sha256 in self._by_content:
            self._rename(self._by_content[sha256], source, path, project)
            raise Skipped(Skip.DUPLICATE)
        if self._by_content is not None:
            self._by_content[sha256] = len(self._files)
        if self._clusters is not None:
            self._clusters.add(data)
        self._files.append(KeptFile(self.language, source, path, sha256, self._spool.append(data), project))

    def finish(self) -> list[KeptFile]:
        """The files kept, sorted by source and path; the others are counted as near duplicates."""
        ordered = sorted(range(len(self._files)), key=lambda file: self._files[file].identity)
        first: dict[int, int] = {}
        for file in ordered:
            first.setdefault(file if self._clusters is None else self._clusters.group_of(file), file)
        self.skipped[Skip.NEAR_DUPLICATE] += len(ordered) - len(first)
        return [self._files[file] for file in first.values()]

    def _numbered(self, source: str, path: str) -> str:
        """The path, with a number appended if the source delivered a file of that path before."""
        self._numbers[source, path] += 1
        number = self._numbers[source, path]
        return path if number == 1 else f"{path}#{number}"

    def _rename(self, file: int, source: str, path: str, project: str) -> None:
        same = self._files[file]
        other = replace(same, source=source, path=path, project=project)
        self._files[file] = min(same, other, key=lambda kept: kept.identity)
