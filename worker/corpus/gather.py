"""Gathering a corpus: reading its sources and keeping clean files without duplicates, in a fixed order.

If there are more files than the limit, those of directories and archives are tried in the order of a hash of their
source and path, which is the same on every machine and favours no part of the alphabet or the tree; in the demo corpus
projects take turns, so none dominates. Streams follow, in their own order. Reading stops when enough files are kept.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from keyscope.contract.cache import default_cache
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.texts import counted
from keyscope.worker.corpus.boilerplate import repeated_lines
from keyscope.worker.corpus.collector import Collector, KeptFile
from keyscope.worker.corpus.files import Skip, Skipped, SourceFile, first_folder
from keyscope.worker.corpus.interface import Listed, Streamed
from keyscope.worker.corpus.languages import SUFFIXES, check_languages, language_of
from keyscope.worker.corpus.sources import open_sources
from keyscope.worker.corpus.spool import Spool


class NoFiles(KeyscopeError, status=400):
    """The sources have no file that could be kept."""


@dataclass(frozen=True, slots=True)
class GatherSettings:
    """What to gather; the limit on files is per language, `cache` is the folder of the demo corpus's archives."""

    languages: Sequence[str]
    files_per_language: int
    keep_duplicates: bool = False
    keep_near_duplicates: bool = False
    keep_boilerplate: bool = False
    seed: int = 0
    cache: Path = field(default_factory=default_cache)


@dataclass(frozen=True, slots=True)
class GatherProgress:
    """Progress: the current step and, while files are read, how many of a language were seen and kept."""

    step: str
    language: str | None = None
    seen: int = 0
    kept: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Gathered:
    """A gathered corpus, with its texts in one file of the scratch directory; small enough to send to other processes.

    `entries` are the files in their final order: by language as requested, then by source and path. `sources` are the
    names in the entries' `source`. `skipped` counts files by reason; files listed but not tried, because enough were
    kept, are `over_limit`. `repeated` are the hashes of each language's boilerplate lines, none if it is kept. `missing` explains why a language of the demo corpus is not available. `sha256` is over
    language, path and content hash of all entries in order.
    """

    entries: tuple[KeptFile, ...]
    texts: Path
    sources: tuple[str, ...]
    counts: dict[str, int]
    skipped: dict[str, int]
    repeated: dict[str, frozenset[int]]
    missing: dict[str, str]
    sha256: str

    def files(self, start: int = 0, stop: int | None = None) -> Iterator[SourceFile]:
        """Yield the files in order, or those from position `start` up to `stop`."""
        with self.texts.open("rb") as texts:
            for entry in islice(self.entries, start, stop):
                texts.seek(entry.extent.offset)
                text = texts.read(entry.extent.size).decode("utf-8")
                yield SourceFile(entry.language, entry.source, entry.path, text, entry.sha256, entry.project)


Report = Callable[[GatherProgress], None]


def gather(
    sources: Sequence[str], settings: GatherSettings, scratch: Path, progress: Report = lambda _: None
) -> Gathered:
    """Gather a corpus from sources of the kinds in `interface.ACCEPTED`.

    Texts are written to `scratch` and never all in memory. Equal sources and settings give equal corpora.

    Raises:
        UnknownLanguage: a language is not in the table of languages.
        SourceNotFound, UnsupportedSource, SourceUnreadable: a source cannot be read.
        NoFiles: no file could be kept.
        ScratchUnwritable: the scratch directory is full or cannot be written.
    """
    languages = check_languages(settings.languages)
    skipped: Counter[str] = Counter()
    with ExitStack() as stack:
        spool = stack.enter_context(Spool(scratch, "texts.spool"))
        opened = stack.enter_context(
            open_sources(sources, languages, scratch, settings.cache, lambda step: progress(GatherProgress(step)))
        )
        collectors = {
            language: Collector(
                language, settings.files_per_language, settings.keep_duplicates, spool, settings.keep_near_duplicates
            )
            for language in languages
        }
        reading = _Reading(collectors, settings, skipped, progress)
        reading.listed([source for source in opened.sources if isinstance(source, Listed)])
        for source in opened.sources:
            if isinstance(source, Streamed):
                reading.streamed(source)
        kept = {language: collector.finish() for language, collector in collectors.items()}
        repeated = {} if settings.keep_boilerplate else _repeated(kept, spool, scratch)
    for collector in collectors.values():
        skipped.update(collector.skipped)
    entries = tuple(entry for files in kept.values() for entry in files)
    if not entries:
        raise NoFiles(_nothing(sources, languages, skipped, opened.missing))
    return Gathered(
        entries=entries,
        texts=spool.path,
        sources=tuple(source.name for source in opened.sources),
        counts={language: len(files) for language, files in kept.items()},
        skipped={str(reason): skipped[reason] for reason in Skip if skipped[reason]},
        repeated=repeated,
        missing={language: reason for language, reason in opened.missing.items() if not kept[language]},
        sha256=_fingerprint(entries),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Hands files from sources to the collectors of their languages."""

    collectors: Mapping[str, Collector]
    settings: GatherSettings
    skipped: Counter[str]
    progress: Report

    def listed(self, sources: Sequence[Listed]) -> None:
        """Read the files of all directories and archives, in one common order."""
        pool = self._pool(sources)
        for language, collector in self.collectors.items():
            candidates = self._in_turn(sorted(pool[language], key=self._priority))
            for done, (source, path) in enumerate(candidates):
                if collector.full:
                    self.skipped[Skip.OVER_LIMIT] += len(candidates) - done
                    break
                with self._counting(collector, source.name):
                    data = source.read(path)
                    if len(data) > source.largest:
                        raise Skipped(Skip.TOO_LARGE)
                    collector.offer(source.name, path, data, source.project(path))

    def streamed(self, source: Streamed) -> None:
        """Read a stream until every language has enough."""
        if self._enough():
            return
        for record in source.records(tuple(self.collectors)):
            if isinstance(record, Skip):
                self.skipped[record] += 1
                continue
            collector = self.collectors[record.language]
            if collector.full:
                self.skipped[Skip.OVER_LIMIT] += 1
                continue
            with self._counting(collector, source.name):
                project = record.project or first_folder(record.path, source.name)
                collector.offer(source.name, record.path, record.data, project)
            if self._enough():
                return

    def _pool(self, sources: Iterable[Listed]) -> dict[str, list[tuple[Listed, str]]]:
        pool: dict[str, list[tuple[Listed, str]]] = {language: [] for language in self.collectors}
        for source in sources:
            self.progress(GatherProgress(f"listing {source.name}"))
            for path in source.paths(pool.keys() & source.only if source.only else pool):
                if isinstance(path, Skip):
                    self.skipped[path] += 1
                elif language := language_of(path):
                    pool[language].append((source, path))
        return pool

    def _in_turn(self, candidates: list[tuple[Listed, str]]) -> list[tuple[Listed, str]]:
        """Let the projects of each source that wants it take turns, then these sources."""
        of_project, of_source = Counter[tuple[str, str]](), Counter[str]()
        turns = []
        for source, path in candidates:
            project = source.name, source.project(path) if source.in_turn else path
            turns.append(of_project[project])
            of_project[project] += 1
        by_project = [candidates[at] for at in sorted(range(len(candidates)), key=turns.__getitem__)]
        turns = []
        for source, _path in by_project:
            turns.append(of_source[source.name] if source.in_turn else 0)
            of_source[source.name] += 1
        return [by_project[at] for at in sorted(range(len(by_project)), key=turns.__getitem__)]

    def _priority(self, candidate: tuple[Listed, str]) -> bytes:
        source, path = candidate
        return hashlib.blake2b(f"{self.settings.seed}\0{source.name}\0{path}".encode(), digest_size=8).digest()

    def _enough(self) -> bool:
        return all(collector.full for collector in self.collectors.values())

    @contextmanager
    def _counting(self, collector: Collector, source: str) -> Iterator[None]:
        """Count the file read and offered inside, and the reason if it is skipped."""
        collector.seen += 1
        try:
            yield
        except Skipped as skip:
            collector.skipped[skip.reason] += 1
        wanted = self.settings.files_per_language
        self.progress(GatherProgress(f"reading {source}", collector.language, collector.seen, collector.kept, wanted))


def _repeated(kept: Mapping[str, Sequence[KeptFile]], spool: Spool, scratch: Path) -> dict[str, frozenset[int]]:
    return {
        language: repeated_lines((spool.read(file.extent).decode() for file in files), len(files), scratch)
        for language, files in kept.items()
    }


def _fingerprint(entries: Iterable[KeptFile]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.language}\0{entry.path}\0{entry.sha256}\n".encode())
    return digest.hexdigest()


def _nothing(
    sources: Sequence[str], languages: Sequence[str], skipped: Mapping[str, int], missing: Mapping[str, str]
) -> str:
    """The message for a corpus without files: what was searched, skipped and missing."""
    suffixes = ", ".join(SUFFIXES[language] for language in languages)
    reasons = counted(skipped)
    return " ".join(
        [
            f"no file of {', '.join(sources) or 'no source'} could be kept: searched for files ending in {suffixes}",
            f"(skipped: {reasons})." if reasons else "and found none.",
            *(f"{language}: {reason}." for language, reason in missing.items()),
            "Choose other languages or another source.",
        ]
    )
