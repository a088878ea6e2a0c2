"""Opening sources by what a person writes for them."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from keyscope.worker.corpus.archives import TAR_SUFFIXES, ZIP_SUFFIXES, TarArchive, ZipArchive
from keyscope.worker.corpus.demo import DemoSource, demo_sources
from keyscope.worker.corpus.directory import Directory
from keyscope.worker.corpus.files import MAX_BYTES, printable
from keyscope.worker.corpus.hub import HubDataset
from keyscope.worker.corpus.interface import ACCEPTED, Listed, Source, SourceNotFound, UnsupportedSource
from keyscope.worker.corpus.tables import JSON_SUFFIXES, PARQUET_SUFFIXES, JsonLines, Parquet

DEMO = "demo"
HUB = "hf:"


@dataclass(frozen=True, slots=True)
class Opened:
    """Open sources, each with a name of its own, and why languages of the demo corpus are missing."""

    sources: list[Source]
    missing: dict[str, str]


@contextmanager
def open_sources(
    texts: Sequence[str], languages: Sequence[str], scratch: Path, cache: Path, announce: Callable[[str], None]
) -> Iterator[Opened]:
    """Open sources in order; they are closed on exit.

    Names are short and reveal nothing about the machine: the last part of a directory's path, the name of an archive,
    table or data set; a name already taken gets a number.

    Raises:
        SourceNotFound: a path does not exist.
        UnsupportedSource: a source is not of a kind that can be read.
    """
    opened = Opened([], {})
    with ExitStack() as stack:

        def add(source: Source) -> None:
            if isinstance(source, Listed):
                stack.callback(source.close)
            source.name = _free_name(source.name, opened.sources)
            opened.sources.append(source)

        for text in dict.fromkeys(texts):
            if text.partition(":")[0] == DEMO:
                largest = _largest_file(text)
                demo = demo_sources(cache, languages, announce)
                opened.missing.update(demo.missing)
                for part in demo.sources:
                    add(_open_demo(part, scratch, largest))
            else:
                add(open_source(text, scratch))
        yield opened


def open_source(text: str, scratch: Path) -> Source:
    """Open one source other than the demo corpus; the caller closes it if it is `Listed`.

    Raises:
        SourceNotFound: there is nothing at that path.
        UnsupportedSource: it is not of a kind that can be read.
    """
    if text.startswith(HUB):
        name, _, config = text.removeprefix(HUB).partition(":")
        if not name:
            raise UnsupportedSource(f"{text!r} names no data set: use hf:NAME or hf:NAME:CONFIG")
        return HubDataset(name, config or None)
    path = Path(os.path.expanduser(text))
    if not os.path.exists(path):
        raise SourceNotFound(f"there is no {text!r}: a source is {ACCEPTED}")
    return _open_path(path, printable(path.resolve().name) or "root", scratch)


def _open_path(path: Path, name: str, scratch: Path) -> Source:
    listed = _open_listed(path, name, scratch)
    if listed is not None:
        return listed
    suffix = path.name.lower()
    if suffix.endswith(JSON_SUFFIXES):
        return JsonLines(path, name)
    if suffix.endswith(PARQUET_SUFFIXES):
        return Parquet(path, name)
    raise UnsupportedSource(f"{str(path)!r} cannot be read as a corpus: a source is {ACCEPTED}")


def _open_listed(path: Path, name: str, scratch: Path, left_out: Sequence[str] = ()) -> Listed | None:
    if path.is_dir():
        return Directory(path, name, left_out)
    suffix = path.name.lower()
    if suffix.endswith(ZIP_SUFFIXES):
        return ZipArchive(path, name)
    return TarArchive(path, name, scratch) if suffix.endswith(TAR_SUFFIXES) else None


def _largest_file(text: str) -> int:
    _, colon, size = text.partition(":")
    if not colon:
        return MAX_BYTES
    if not size.isdecimal() or int(size) == 0:
        raise UnsupportedSource(f"{text!r} has no valid size: use demo, or demo:BYTES for its files up to that size")
    return min(int(size), MAX_BYTES)


def _open_demo(part: DemoSource, scratch: Path, largest: int) -> Listed:
    source = _open_listed(part.path, part.name, scratch, part.left_out)
    assert source is not None, f"{part.path} is neither a directory nor an archive"
    source.project_of = part.project
    source.only = frozenset([part.language])
    source.largest = largest
    source.in_turn = True
    return source


def _free_name(name: str, taken: Sequence[Source]) -> str:
    names = {source.name for source in taken}
    candidates = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(free for free in candidates if free not in names)
