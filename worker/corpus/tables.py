"""Tables as sources: JSON lines and Parquet files with one source file per row."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from keyscope.worker.corpus.files import MAX_BYTES, Skip, printable
from keyscope.worker.corpus.interface import Record, SourceUnreadable, Streamed, UnsupportedSource
from keyscope.worker.corpus.languages import SUFFIXES, language_of

JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
PARQUET_SUFFIXES = (".parquet",)

MAX_JSON_LINE = 8 * MAX_BYTES
"""Bytes of a row: JSON may write one byte of content as six, and a row has other columns too."""

NAMES = {
    "content": ("content", "code"),
    "path": ("path", "max_stars_repo_path"),
    "repo": ("repo", "repo_name", "repository_name", "max_stars_repo_name"),
    "lang": ("lang", "language"),
}
"""Names of each field in The Stack and in data sets of its shape."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's column for each field; None if it has none."""

    content: str
    path: str | None
    repo: str | None
    lang: str | None

    @classmethod
    def find(cls, available: Collection[str], source: str) -> "Columns":
        """Match a table's columns to the fields.

        Raises:
            UnsupportedSource: the table has no content, or neither path nor language.
        """
        found = {need: next((name for name in names if name in available), None) for need, names in NAMES.items()}
        if found["content"] is None or (found["path"] is None and found["lang"] is None):
            raise UnsupportedSource(
                f"{source} has the columns {', '.join(available)}: it needs content, and path or lang "
                "(or both, with repo in front of path)"
            )
        return cls(**cast(dict[str, Any], found))

    @property
    def present(self) -> list[str]:
        """Names of the columns found."""
        return [name for name in (self.content, self.path, self.repo, self.lang) if name is not None]

    def record(self, row: Mapping[str, Any], number: int, languages: Collection[str]) -> Record | Skip | None:
        """The file in a row; None if it is in another language.

        The language is the row's `lang` or, without one, that of the path's suffix. A row without a path is named by its
        number, from 1.
        """
        path = _text(row, self.path)
        lang = _text(row, self.lang)
        language = lang.lower() if lang else language_of(path)
        if language is None or language not in languages:
            return None
        content = row.get(self.content)
        if isinstance(content, str):
            # JSON can contain half a surrogate pair, which UTF-8 cannot: pass it on as bytes that will not decode
            content = content.encode("utf-8", "surrogatepass")
        if not isinstance(content, bytes):
            return Skip.UNREADABLE
        parts = [part.strip("/") for part in (_text(row, self.repo), path or f"row-{number}{SUFFIXES[language]}")]
        return Record(language, printable("/".join(filter(None, parts))), content)


class JsonLines(Streamed):
    """A file with one JSON object per line, plain or compressed."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(name)
        self._path = path

    def records(self, languages: Collection[str]) -> Iterator[Record | Skip]:
        """See `Streamed.records`; lines that are not JSON objects count as unreadable."""
        columns: Columns | None = None
        with _broken_off(self._path), _open_plain(self._path) as file:
            for number, line in enumerate(_lines(file), 1):
                row = line if isinstance(line, Skip) else _json_object(line)
                if isinstance(row, Skip):
                    yield row
                    continue
                columns = columns or Columns.find(row.keys(), str(self._path))
                record = columns.record(row, number, languages)
                if record is not None:
                    yield record


class Parquet(Streamed):
    """A Parquet file, read a few rows at a time."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(name)
        self._path = path

    def records(self, languages: Collection[str]) -> Iterator[Record | Skip]:
        """See `Streamed.records`."""
        import pyarrow.parquet as pq

        # buffered column reads need one page of memory per column, however large the row groups are
        with (
            _broken_off(self._path),
            pq.ParquetFile(self._path, buffer_size=1 << 20, pre_buffer=False) as file,
        ):
            columns = Columns.find(file.schema_arrow.names, str(self._path))
            batches = file.iter_batches(batch_size=16, columns=columns.present, use_threads=False)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
                record = columns.record(row, number, languages)
                if record is not None:
                    yield record


@contextmanager
def _broken_off(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceUnreadable(f"{path} is damaged or truncated: {error}; fetch it again") from error


def _open_plain(path: Path) -> IO[bytes]:
    """Open a file, decompressed by its suffix; a truncated one raises instead of ending early."""
    import pyarrow

    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())
    return BufferedReader(pyarrow.input_stream(str(path), compression=compression), 1 << 20)


def _lines(file: IO[bytes]) -> Iterator[bytes | Skip]:
    while line := file.readline(MAX_JSON_LINE):
        if len(line) < MAX_JSON_LINE or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_JSON_LINE)
        yield Skip.TOO_LARGE


def _json_object(line: bytes) -> dict[str, Any] | Skip:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return Skip.UNREADABLE
    return row if isinstance(row, dict) else Skip.UNREADABLE


def _text(row: Mapping[str, Any], column: str | None) -> str:
    value = row.get(column) if column else None
    return value if isinstance(value, str) else ""
