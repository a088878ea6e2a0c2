"""Tables as sources: JSON lines and Parquet files with one source file per row."""

import glob
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import duckdb

from keyscope.contract.texts import first_line
from keyscope.worker.corpus.files import MAX_BYTES, Skip, printable
from keyscope.worker.corpus.interface import Record, SourceUnreadable, Streamed, UnsupportedSource
from keyscope.worker.corpus.languages import SUFFIXES, language_of

JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
PARQUET_SUFFIXES = (".parquet",)

MAX_PATH = 4096
"""Most characters of a row's path, repository or language; a row with more is skipped."""
PARQUET_MEMORY = "256MB"
"""Most memory that decoding one page of a Parquet file may take; pages have about 1 MB."""
BATCH_BYTES = 16 * MAX_BYTES
"""Most bytes of the rows of a Parquet file that are in memory together, if no single one is larger."""
BATCH_ROWS = 1000
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
        repo = _text(row, self.repo)
        if max(map(len, (path, lang, repo))) > MAX_PATH:
            return Skip.TOO_LARGE
        language = lang.lower() if lang else language_of(path)
        if language is None or language not in languages:
            return None
        content = row.get(self.content)
        if isinstance(content, str):
            # JSON can contain half a surrogate pair, which UTF-8 cannot: pass it on as bytes that will not decode
            content = content.encode("utf-8", "surrogatepass")
        if not isinstance(content, bytes):
            return Skip.UNREADABLE
        repo = repo.strip("/")
        parts = [repo, (path or f"row-{number}{SUFFIXES[language]}").strip("/")]
        return Record(language, printable("/".join(filter(None, parts))), content, printable(repo) or None)


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
    """A Parquet file, read a few rows at a time.

    A few kilobytes can hold a page or a value of gigabytes, and neither footer nor page headers need be true about it. So
    every value is measured first by DuckDB, which does not copy them and keeps to a limit of memory.
    """

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
            texts = _texts(file.schema, columns.present)
            if columns.content not in texts:
                raise UnsupportedSource(f"{self._path} has no text in its column {columns.content}")
            longest = _longest(self._path, texts)
            rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(longest, 1)))
            number = 0
            for batch in file.iter_batches(batch_size=rows, columns=texts, use_threads=False):
                for row in zip(*(map(_value, column) for column in batch.columns), strict=True):
                    number += 1
                    record = columns.record(dict(zip(batch.schema.names, row, strict=True)), number, languages)
                    if record is not None:
                        yield record


def _texts(schema: Any, names: Collection[str]) -> list[str]:
    """Those of a Parquet file's columns that hold texts or byte strings."""
    columns = (schema.column(number) for number in range(len(schema)))
    return [each.path for each in columns if each.physical_type == "BYTE_ARRAY" and each.path in names]


def _longest(path: Path, columns: Sequence[str]) -> int:
    """Bytes of the longest value of some columns.

    Raises:
        SourceUnreadable: a page takes too much memory.
    """
    with duckdb.connect(config={"memory_limit": PARQUET_MEMORY, "threads": 1}) as connection:
        try:
            rows = connection.read_parquet(glob.escape(str(path)))
            types = dict(zip(rows.columns, rows.types, strict=True))
            lengths = (f"max({'octet_length' if types[name] == 'BLOB' else 'strlen'}({name}))" for name in columns)
            found = rows.aggregate(f"greatest({', '.join(lengths)})").fetchall()
        except duckdb.OutOfMemoryException:
            raise SourceUnreadable(
                f"{path} has pages that do not fit into {PARQUET_MEMORY} of memory: write it with smaller pages or values"
            ) from None
        except duckdb.Error as error:
            raise SourceUnreadable(f"{path} is damaged or truncated: {first_line(error)}; fetch it again") from error
    return int(found[0][0] or 0)


def _value(scalar: Any) -> Any:
    """A value of a Parquet file; of one that is too long, only so much that one sees it is."""
    plain = scalar.value if hasattr(scalar, "dictionary") else scalar
    data = plain.as_buffer() if plain.is_valid else None
    return plain.as_py() if data is None or data.size <= MAX_BYTES else str(data[: MAX_BYTES + 1], "utf-8", "replace")


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
