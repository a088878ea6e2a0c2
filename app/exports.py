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
from typing import Any, Literal

import duckdb
from starlette.responses import Response, StreamingResponse

Format = Literal["csv", "parquet"]
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
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
    filename = _UNSAFE.sub("_", f"{sheet.name}.{format}")
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    if format == "parquet":
        return Response(to_parquet(sheet), media_type=MEDIA_TYPES[format], headers=headers)
    lines = to_csv(sheet) if format == "csv" else to_json_lines(sheet)
    return StreamingResponse(lines, media_type=MEDIA_TYPES[format], headers=headers)


def to_csv(sheet: Sheet) -> Iterator[str]:
    """The sheet line by line; a text that a spreadsheet would take for a formula is led by an apostrophe."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    for row in chain([list(sheet.columns)], sheet.rows):
        writer.writerow([_cell(value) for value in row])
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def to_json_lines(sheet: Sheet) -> Iterator[str]:
    """The sheet as one JSON object a line."""
    for row in sheet.rows:
        yield json.dumps(dict(zip(sheet.columns, row, strict=True)), default=str, ensure_ascii=False) + "\n"


def to_parquet(sheet: Sheet) -> bytes:
    """The sheet as one Parquet file, written by a DuckDB of its own, for run files are locked against writing."""
    with tempfile.TemporaryDirectory(prefix="keyscope-") as directory:
        lines, parquet = Path(directory, "rows.jsonl"), Path(directory, "rows.parquet")
        with lines.open("w", encoding="utf-8") as file:
            file.writelines(to_json_lines(sheet))
        with duckdb.connect() as connection:
            rows = connection.read_json(
                str(lines), columns=dict(sheet.columns), format="newline_delimited", maximum_object_size=2**26
            )
            rows.write_parquet(str(parquet), compression="zstd")
        return parquet.read_bytes()


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
