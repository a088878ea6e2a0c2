import asyncio
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from keyscope.app.table_files import FORMULA_STARTS, Sheet, respond, save, to_csv, to_json_lines

V1 = "/api/v1"
TABLES = ["statistics", "languages", "histograms", "triggers", "samples", "fires_on", "value_tokens"]
SHEETS = [
    "/export/runs",
    "/runs/alpha/export/layers",
    "/runs/alpha/export/specific-keys",
    "/runs/alpha/export/strongest-keys",
    "/runs/alpha/export/layers/1/keys",
    *(f"/runs/alpha/export/keys/L1.K2/{table}" for table in TABLES),
]


def read_parquet(data: bytes, directory: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    path = directory / "rows.parquet"
    path.write_bytes(data)
    with duckdb.connect() as connection:
        relation = connection.read_parquet(str(path))
        return relation.columns, relation.fetchall()


@pytest.mark.parametrize("url", SHEETS)
def test_every_table_comes_as_csv_and_as_parquet_with_the_same_rows(client: TestClient, url: str, tmp_path: Path):
    text = client.get(V1 + url, params={"format": "csv"})
    parquet = client.get(V1 + url, params={"format": "parquet"})
    rows = list(csv.reader(io.StringIO(text.text, newline="")))
    columns, values = read_parquet(parquet.content, tmp_path)
    assert text.headers["Content-Type"].startswith("text/csv")
    assert ".csv" in text.headers["Content-Disposition"]
    assert parquet.headers["Content-Type"] == "application/vnd.apache.parquet"
    assert rows[0] == columns
    assert len(rows) - 1 == len(values) > 0


def test_an_unknown_table_or_format_is_refused(client: TestClient):
    assert client.get(f"{V1}/runs/alpha/export/keys/L1.K2/nothing").status_code == 422
    assert client.get(f"{V1}/runs/alpha/export/layers?format=xlsx").status_code == 422
    assert client.get(f"{V1}/runs/alpha/export/weakest-keys").status_code == 422


def test_a_layer_is_exported_whole_in_the_order_and_filter_asked_for(client: TestClient, tmp_path: Path):
    query = {"sort": "maximum", "order": "asc", "language": "python"}
    listed = client.get(f"{V1}/runs/alpha/layers/1/keys", params=query).json()["keys"]
    export = client.get(f"{V1}/runs/alpha/export/layers/1/keys", params={**query, "format": "parquet"})
    columns, rows = read_parquet(export.content, tmp_path)
    exported = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [row["key"] for row in exported] == [key["key"] for key in listed]
    for row, key in zip(exported, listed, strict=True):
        assert row["maximum"] == key["stats"]["maximum"]
        assert row["dead"] is key["stats"]["dead"]
        assert row["promoted"] == [each["token"] for each in key["promoted"]]


def test_exported_triggers_are_those_of_the_key(client: TestClient, tmp_path: Path):
    triggers = client.get(f"{V1}/runs/alpha/keys/L1.K2").json()["triggers"]
    export = client.get(f"{V1}/runs/alpha/export/keys/L1.K2/triggers?format=parquet")
    columns, rows = read_parquet(export.content, tmp_path)
    for row, trigger in zip((dict(zip(columns, row, strict=True)) for row in rows), triggers, strict=True):
        assert row["token_ids"] == trigger["token_ids"]
        assert row["coefficients"] == trigger["coefficients"]
        assert (row["path"], row["line"], row["column"]) == (trigger["path"], trigger["line"], trigger["column"])


@pytest.mark.parametrize("name", ["run", "модель 1", 'a"b\r\nX: y'])
def test_a_file_has_a_name_that_every_system_takes(name: str):
    headers = respond(Sheet(name, {"text": "VARCHAR"}, []), "csv").headers
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+\.csv"', headers["Content-Disposition"])


@pytest.mark.parametrize("start", [*FORMULA_STARTS, "＝", "＋", "－", "＠", "\ufeff=", "\u200b\u2066＝"])
def test_a_spreadsheet_takes_no_text_for_a_formula(start: str):
    sheet = Sheet("test", {"text": "VARCHAR", "number": "DOUBLE"}, [[f'{start}HYPERLINK("x")', -1.5]])
    _, row = csv.reader(io.StringIO("".join(to_csv(sheet)), newline=""))
    assert row == [f'\'{start}HYPERLINK("x")', "-1.5"]


def test_text_comes_back_exactly_from_parquet_and_json_lines(tmp_path: Path):
    texts = ["=1+1", "\n\t ", "\ufffd", "数 →", "\x00", '</script>"', "", "\u2028"]
    sheet = Sheet("test", {"text": "VARCHAR", "list": "VARCHAR[]"}, [[text, [text]] for text in texts])
    assert read_parquet(save(sheet, "parquet", tmp_path).read_bytes(), tmp_path)[1] == [
        (text, [text]) for text in texts
    ]
    assert [json.loads(line)["text"] for line in to_json_lines(sheet)] == texts


def test_an_empty_table_keeps_its_columns(tmp_path: Path):
    sheet = Sheet("test", {"text": "VARCHAR", "number": "DOUBLE", "list": "FLOAT[]"}, [])
    assert read_parquet(save(sheet, "parquet", tmp_path).read_bytes(), tmp_path) == (["text", "number", "list"], [])
    assert "".join(to_csv(sheet)) == "text,number,list\r\n"


def test_a_long_table_leaves_in_few_pieces() -> None:
    rows = [[number, "x" * 90] for number in range(10_000)]
    sheet = Sheet("long", {"number": "BIGINT", "text": "VARCHAR"}, rows)
    response = respond(sheet, "csv")
    assert isinstance(response, StreamingResponse)

    async def pieces() -> list[bytes | memoryview | str]:
        return [piece async for piece in response.body_iterator]

    sent = asyncio.run(pieces())
    assert 2 < len(sent) < 10
    assert b"".join(bytes(piece) for piece in sent if not isinstance(piece, str)) == "".join(to_csv(sheet)).encode()
