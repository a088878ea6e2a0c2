"""Tables as files: CSV that is safe in spreadsheets, JSON lines, and Parquet with typed columns; written and read back.

A new format is an entry in `FORMATS` and in the names above it.
"""

import csv
import io
import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Literal, get_args

import duckdb
from starlette.responses import StreamingResponse

from keyscope.app.errors import InvalidParameter

Format = Literal["csv", "jsonl", "parquet"]
PageFormat = Literal["csv", "parquet"]
"""The formats that the tables of pages come in; the export of labels has all of them."""
PAGE_FORMATS: tuple[PageFormat, ...] = get_args(PageFormat)
Row = tuple[int, dict[str, Any] | str]
"""Line or row number, from 1, with the values by column, or why the row cannot be read."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms of the first, which spreadsheets take for them."""
UNSEEN = "\ufeff\u200b-\u200f\u2028-\u202e\u2060-\u206f\u00ad\u061c\u180e"
"""Characters without width, which spreadsheets may drop from the front of a cell."""
_FORMULA = re.compile(f"'*[{UNSEEN}]*[{re.escape(''.join(FORMULA_STARTS))}]")
"""Text that a spreadsheet would evaluate. Text already led by an apostrophe matches too, so unescaping is exact."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_PARQUET_ROWS = """
    SELECT strlen(text), CASE WHEN strlen(text) <= ? THEN text END
    FROM (SELECT to_json(r)::VARCHAR AS text FROM read_parquet(?) r)"""
CHUNK_BYTES = 2**18
BATCH = 1000
MEMORY = "512MB"
"""Memory limit for reading Parquet, because a small file can decompress to a huge one."""
LONGEST_ROW = 2**17
"""Most bytes of a row of JSON lines, or of a Parquet row written as JSON."""
MOST_BYTES = 2**26
"""Most bytes of the rows of a Parquet file, written as JSON."""


@dataclass(frozen=True)
class Sheet:
    """A table to export: its name, DuckDB types by column, and its rows."""

    name: str
    columns: Mapping[str, str]
    rows: Iterable[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a format is called, written and read."""

    title: str
    media_type: str
    write: Callable[[Sheet, Path], None]
    read: Callable[[Path, Collection[str]], Iterator[Row]]
    """Yields the rows; the second argument names the columns that CSV stores as JSON."""


def respond(sheet: Sheet, name: Format) -> StreamingResponse:
    """The sheet as a download.

    All rows are written to disk before the first byte is sent: memory stays bounded, a slow client does not hold the
    database, and an error on the way becomes a status instead of half a file.
    """
    with tempfile.TemporaryDirectory(prefix="keyscope-") as directory:
        path = save(sheet, name, Path(directory))
        headers = {
            "Content-Disposition": f'attachment; filename="{_UNSAFE.sub("_", f"{sheet.name}.{name}")}"',
            "Content-Length": str(path.stat().st_size),
        }
        # The open file outlives its directory.
        chunks = _chunks(path.open("rb"))
    return StreamingResponse(chunks, media_type=FORMATS[name].media_type, headers=headers)


def save(sheet: Sheet, name: Format, directory: Path) -> Path:
    """Write the sheet to a new file in a directory and return its path."""
    path = directory / f"rows.{name}"
    FORMATS[name].write(sheet, path)
    return path


def format_of(name: str) -> Format:
    """The format that a file name's extension stands for.

    Raises:
        InvalidParameter: no format has that extension.
    """
    found = next((each for each in FORMATS if PurePath(name).suffix.lower() == f".{each}"), None)
    if found is None:
        *others, last = (f".{each}" for each in FORMATS)
        raise InvalidParameter(f"{name} does not end in {', '.join(others)} or {last}")
    return found


def count_rows(path: Path, name: Format) -> int:
    """How many rows the file says it has, without reading them; 0 if its format does not say."""
    if name != "parquet":
        return 0
    with duckdb.connect() as connection:
        try:
            rows = connection.execute("SELECT sum(num_rows) FROM parquet_file_metadata(?)", [str(path)]).fetchall()
        except duckdb.Error:  # reading the rows says what is wrong with the file
            return 0
    return int(rows[0][0])


def read_rows(path: Path, name: Format, json_columns: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a file; a file that is not of the format yields one row that says so."""
    return FORMATS[name].read(path, json_columns)


def to_csv(sheet: Sheet) -> Iterator[str]:
    """The sheet line by line; text that a spreadsheet would evaluate gets an apostrophe, which reading removes."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([list(sheet.columns)], sheet.rows):
        writer.writerow([_cell(value) for value in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def to_json_lines(sheet: Sheet) -> Iterator[str]:
    """The sheet as one JSON object per line."""
    for row in sheet.rows:
        yield json.dumps(dict(zip(sheet.columns, row, strict=True)), default=str, ensure_ascii=False) + "\n"


def _write_csv(sheet: Sheet, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(to_csv(sheet))


def _write_json_lines(sheet: Sheet, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(to_json_lines(sheet))


def _write_parquet(sheet: Sheet, path: Path) -> None:
    lines = path.with_suffix(".lines")
    _write_json_lines(sheet, lines)
    # A connection of its own, because run files are opened read-only with external access disabled.
    with duckdb.connect() as connection:
        rows = connection.read_json(
            str(lines), columns=dict(sheet.columns), format="newline_delimited", maximum_object_size=2**26
        )
        rows.write_parquet(str(path), compression="zstd")


def _read_csv(path: Path, json_columns: Collection[str]) -> Iterator[Row]:
    with path.open("rb") as file:
        reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        line = 1
        try:
            yield from _csv_rows(reader, json_columns)
        except (csv.Error, UnicodeDecodeError) as error:
            line = reader.line_num + 1
            yield line, f"the file is not CSV in UTF-8: {error}"


def _csv_rows(reader: "csv.DictReader[str]", json_columns: Collection[str]) -> Iterator[Row]:
    columns = reader.fieldnames  # reads the first line
    if not columns:
        return
    before = reader.line_num
    for cells in reader:
        # A quoted cell may span lines; a row is named by its first.
        line, before = before + 1, reader.line_num
        if None in cells or None in cells.values():
            yield line, f"it does not have {len(columns)} cells like the first line"
            continue
        try:
            given = {name: _uncell(cell) for name, cell in cells.items() if cell != ""}
            yield line, {name: json.loads(text) if name in json_columns else text for name, text in given.items()}
        except ValueError as error:
            yield line, f"{' and '.join(json_columns)} must be JSON: {error}"


def _read_json_lines(path: Path, _json_columns: Collection[str]) -> Iterator[Row]:
    with path.open("rb") as file:
        for line, text in enumerate(_bounded_lines(file), start=1):
            if len(text) > LONGEST_ROW:
                yield line, f"it has more than {LONGEST_ROW:,} bytes, the most a row may have"
                continue
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield line, f"it is not JSON: {error}"
                continue
            yield line, values if isinstance(values, dict) else "it is not a JSON object"


def _read_parquet(path: Path, _json_columns: Collection[str]) -> Iterator[Row]:
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(_PARQUET_ROWS, [LONGEST_ROW, str(path)])
            number = total = 0
            while rows := connection.fetchmany(BATCH):
                for size, text in rows:
                    number += 1
                    if text is None:
                        yield number, f"it has {size:,} bytes as JSON, a row may have {LONGEST_ROW:,}"
                        continue
                    total += size
                    if total > MOST_BYTES:
                        yield number, f"the rows have over {MOST_BYTES:,} bytes as JSON, the most of one file: split it"
                        return
                    yield number, json.loads(text)
        except duckdb.OutOfMemoryException:
            yield 1, f"the file cannot be read in {MEMORY} of memory: its values are too long"
        except duckdb.Error as error:
            yield 1, f"the file is not Parquet: {str(error).splitlines()[0]}"


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one longer than `LONGEST_ROW`, only so much that one sees it is."""
    while line := file.readline(LONGEST_ROW + 1):
        yield line
        while len(line) > LONGEST_ROW and not line.endswith(b"\n"):
            line = file.readline(LONGEST_ROW + 1)


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _uncell(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


FORMATS: dict[Format, FileFormat] = {
    "csv": FileFormat("CSV", "text/csv; charset=utf-8", _write_csv, _read_csv),
    "jsonl": FileFormat("JSON lines", "application/jsonl", _write_json_lines, _read_json_lines),
    "parquet": FileFormat("Parquet", "application/vnd.apache.parquet", _write_parquet, _read_parquet),
}
