"""Turns what a person writes for a source into something that can be read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.corpus.archives import TAR_SUFFIXES, ZIP_SUFFIXES, TarArchive, ZipArchive
from worker.corpus.demo import DemoSource, demo_sources
from worker.corpus.directory import Directory
from worker.corpus.files import printable
from worker.corpus.hub import HubDataset
from worker.corpus.interface import ACCEPTED, Listed, Source, SourceNotFound, UnsupportedSource
from worker.corpus.tables import JSON_SUFFIXES, PARQUET_SUFFIXES, JsonLines, Parquet

DEMO = "demo"
HUB = "hf:"


@dataclass(frozen=True, slots=True)
class Opened:
    """Sources ready to be read, no two of one name, and the languages of the demo corpus that cannot be had."""

    sources: list[Source]
    missing: dict[str, str]


@contextmanager
def open_sources(
    texts: Sequence[str], languages: Sequence[str], scratch: Path, cache: Path, announce: Callable[[str], None]
) -> Iterator[Opened]:
    """Open sources in their order; they are closed on exit.

    Names are short and tell nothing of the machine: the last part of a directory's path, the name of an archive or
    table, the name of a data set; a name that is taken gets a number.

    Raises:
        SourceNotFound: a path does not exist.
        UnsupportedSource: a source is of no kind that can be read.
    """
    opened = Opened([], {})
    with ExitStack() as stack:

        def add(source: Source) -> None:
            if isinstance(source, Listed):
                stack.callback(source.close)
            source.name = _free_name(source.name, opened.sources)
            opened.sources.append(source)

        for text in dict.fromkeys(texts):
            if text == DEMO:
                demo = demo_sources(cache, languages, announce)
                opened.missing.update(demo.missing)
                for part in demo.sources:
                    add(_open_demo(part, scratch))
            else:
                add(open_source(text, scratch))
        yield opened


def open_source(text: str, scratch: Path) -> Source:
    """Open one source that is not the demo corpus; to be closed if it is `Listed`.

    Raises:
        SourceNotFound: there is nothing at that path.
        UnsupportedSource: it is of no kind that can be read.
    """
    if text.startswith(HUB):
        name, _, config = text.removeprefix(HUB).partition(":")
        if not name:
            raise UnsupportedSource(f"{text!r} names no data set: write hf:NAME or hf:NAME:CONFIG")
        return HubDataset(name, config or None)
    path = Path(text).expanduser()
    if not path.exists():
        raise SourceNotFound(f"there is no {text!r}: a source is {ACCEPTED}")
    return _open_path(path, printable(path.resolve().name) or "root", scratch)


def _open_path(path: Path, name: str, scratch: Path) -> Source:
    suffix = path.name.lower()
    if path.is_dir():
        return Directory(path, name)
    if suffix.endswith(ZIP_SUFFIXES):
        return ZipArchive(path, name)
    if suffix.endswith(TAR_SUFFIXES):
        return TarArchive(path, name, scratch)
    if suffix.endswith(JSON_SUFFIXES):
        return JsonLines(path, name)
    if suffix.endswith(PARQUET_SUFFIXES):
        return Parquet(path, name)
    raise UnsupportedSource(f"{str(path)!r} cannot be read as a corpus: a source is {ACCEPTED}")


def _open_demo(part: DemoSource, scratch: Path) -> Source:
    if part.path.is_dir():
        source: Listed = Directory(part.path, part.name, part.left_out)
    else:
        opened = _open_path(part.path, part.name, scratch)
        assert isinstance(opened, Listed)
        source = opened
    source.only = frozenset([part.language])
    return source


def _free_name(name: str, taken: Sequence[Source]) -> str:
    names = {source.name for source in taken}
    number = 1
    free = name
    while free in names:
        number += 1
        free = f"{name}-{number}"
    return free
