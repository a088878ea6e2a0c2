"""Files of labels read row by row: CSV, JSON lines and Parquet, as the export writes them."""

import csv
import json
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path, PurePath
from typing import Any, Literal

import duckdb

from keyscope.app.errors import InvalidParameter
from keyscope.app.table_files import from_cell

Format = Literal["csv", "jsonl", "parquet"]
Row = tuple[int, dict[str, Any] | str]
"""Line or row number from 1, and its values by column, or why it cannot be read."""

JSON_COLUMNS = ("tags", "evidence")
MEMORY = "512MB"
"""What reading a Parquet file may take: a small file may unfold to a very large one."""
BATCH = 1000


def format_of(name: str) -> Format:
    """The format of a file by its name.

    Raises:
        InvalidParameter: its name ends otherwise than those of the formats do.
    """
    formats: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
    try:
        return formats[PurePath(name).suffix.lower()]
    except KeyError as error:
        raise InvalidParameter(f"{name} ends neither in .csv nor .jsonl nor .parquet") from error


def read_rows(path: Path, format: Format) -> Iterator[Row]:
    """The rows of a file, one after the other; what is no such file is one row that says so."""
    return {"csv": _csv, "jsonl": _json_lines, "parquet": _parquet}[format](path)


def _csv(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        reader = csv.DictReader(TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        line = 1
        try:
            yield from _csv_rows(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            line = reader.line_num + 1
            yield line, f"this is no CSV in UTF-8: {error}"


def _csv_rows(reader: "csv.DictReader[str]") -> Iterator[Row]:
    columns = reader.fieldnames  # reads the first line
    if not columns:
        return
    before = reader.line_num
    for cells in reader:
        line, before = before + 1, reader.line_num
        if None in cells or None in cells.values():
            yield line, f"it has another number of cells than the {len(columns)} columns of the first line"
            continue
        try:
            yield line, {name: _value(name, from_cell(cell)) for name, cell in cells.items() if cell != ""}
        except ValueError as error:
            yield line, f"tags and evidence are JSON: {error}"


def _value(name: str, cell: str) -> Any:
    return json.loads(cell) if name in JSON_COLUMNS else cell


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield line, f"this is no JSON: {error}"
                continue
            yield line, values if isinstance(values, dict) else "this is no JSON object"


def _parquet(path: Path) -> Iterator[Row]:
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SELECT to_json(r)::VARCHAR FROM read_parquet(?) r", [str(path)])
            number = 0
            while rows := connection.fetchmany(BATCH):
                for (text,) in rows:
                    number += 1
                    yield number, json.loads(text)
        except duckdb.Error as error:
            yield 1, f"this is no Parquet file: {str(error).splitlines()[0]}"
