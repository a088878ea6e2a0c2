"""Tables as files: CSV that no spreadsheet takes for formulas, Parquet with true types, JSON lines."""

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import duckdb
from starlette.responses import Response, StreamingResponse

Format = Literal["csv", "parquet"]
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_FORMULA = re.compile(f"'*[{re.escape(''.join(FORMULA_STARTS))}]")
"""How a text begins that a spreadsheet would calculate; one that has its apostrophe already gets another."""
CHUNK_BYTES = 2**18
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
}


@dataclass(frozen=True)
class Sheet:
    """A table on its way out: its name, DuckDB types by column, and its rows."""

    name: str
    columns: Mapping[str, str]
    rows: Iterable[Sequence[Any]]


def respond(sheet: Sheet, format: str) -> Response:
    """The sheet as a download: `csv`, `parquet` or `jsonl`."""
    headers = {"Content-Disposition": f'attachment; filename="{_UNSAFE.sub("_", f"{sheet.name}.{format}")}"'}
    if format == "parquet":
        return Response(to_parquet(sheet), media_type=MEDIA_TYPES[format], headers=headers)
    return StreamingResponse(_joined(_lines(sheet, format)), media_type=MEDIA_TYPES[format], headers=headers)


def respond_from_disk(sheet: Sheet, format: str) -> Response:
    """The sheet as a download whose rows are all read now, to a file, and sent from there.

    So a long table is never whole in memory, its database is not held by a slow client, and an error on the way is a
    status and not half a file.
    """
    headers = {"Content-Disposition": f'attachment; filename="{_UNSAFE.sub("_", f"{sheet.name}.{format}")}"'}
    with tempfile.TemporaryDirectory(prefix="keyscope-") as directory:
        path = save(sheet, format, Path(directory))
        headers["Content-Length"] = str(path.stat().st_size)
        # Open, it outlives its name.
        chunks = _chunks(path.open("rb"))
    return StreamingResponse(chunks, media_type=MEDIA_TYPES[format], headers=headers)


def save(sheet: Sheet, format: str, directory: Path) -> Path:
    """Write the sheet into a directory and answer where."""
    if format == "parquet":
        return _write_parquet(sheet, directory)
    path = directory / f"rows.{format}"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(_lines(sheet, format))
    return path


def _lines(sheet: Sheet, format: str) -> Iterator[str]:
    return to_csv(sheet) if format == "csv" else to_json_lines(sheet)


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Many lines at a time, for each that is sent costs a hop to a thread and back."""
    waiting, size = list[str](), 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def to_csv(sheet: Sheet) -> Iterator[str]:
    """The sheet line by line; a text that a spreadsheet would take for a formula is led by an apostrophe.

    `from_cell` takes it off again.
    """
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([list(sheet.columns)], sheet.rows):
        writer.writerow([_cell(value) for value in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def from_cell(text: str) -> str:
    """A cell of our CSV as it was before the apostrophe."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def to_json_lines(sheet: Sheet) -> Iterator[str]:
    """The sheet as one JSON object a line."""
    for row in sheet.rows:
        yield json.dumps(dict(zip(sheet.columns, row, strict=True)), default=str, ensure_ascii=False) + "\n"


def to_parquet(sheet: Sheet) -> bytes:
    """The sheet as one Parquet file, written by a DuckDB of its own, for run files are locked against writing."""
    with tempfile.TemporaryDirectory(prefix="keyscope-") as directory:
        return _write_parquet(sheet, Path(directory)).read_bytes()


def _write_parquet(sheet: Sheet, directory: Path) -> Path:
    lines, parquet = directory / "rows.jsonl", directory / "rows.parquet"
    with lines.open("w", encoding="utf-8") as file:
        file.writelines(to_json_lines(sheet))
    with duckdb.connect() as connection:
        rows = connection.read_json(
            str(lines), columns=dict(sheet.columns), format="newline_delimited", maximum_object_size=2**26
        )
        rows.write_parquet(str(parquet), compression="zstd")
    return parquet


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
