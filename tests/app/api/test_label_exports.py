import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi.testclient import TestClient

from keyscope.app import table_files
from keyscope.app.database.engine import Database, upgrade
from keyscope.app.labels import importing, records, repository
from keyscope.app.labels.importing import ImportRefused, import_file
from keyscope.app.runs import Registry
from keyscope.app.table_files import Format, Sheet, to_json_lines

V1 = "/api/v1"
ADA, BEN = {"X-Keyscope-Person": "Ada"}, {"X-Keyscope-Person": "Ben"}
LABELS = f"{V1}/runs/alpha/keys/L1.K2/labels"
LONG_AGO = [("unclear", 3), ("semantic", 5)]
"""Kinds of older versions, and how many days before the present one they were given."""
FORMATS: list[Format] = ["csv", "jsonl", "parquet"]
HOSTILE = [
    "=cmd()",
    "'=cmd()",
    "''@x",
    "+1",
    "-1",
    "\tx",
    "a\r\nb",
    ' "q", ',
    "'plain",
    "Zoë 数 ’",
    "<b>&",
    "None",
    "é\u2028",
]


def label(client: TestClient, key: str, person: dict[str, str], kind: str = "syntactic", **more: object) -> None:
    answer = client.put(f"{V1}/runs/alpha/keys/{key}/labels", json={"kind": kind, **more}, headers=person)
    assert answer.status_code == 200, answer.text


def decide(client: TestClient, key: str, kind: str | None, seen: int) -> None:
    body = {"kind": kind, "description": "=decided", "seen": seen}
    answer = client.post(f"{V1}/runs/alpha/keys/{key}/adjudications", json=body, headers=ADA)
    assert answer.status_code == 201, answer.text


@pytest.fixture
def team(client: TestClient) -> TestClient:
    """A database with every kind of row in it."""
    evidence = [{"file_sha256": "0" * 64, "offset": 12}, {"file_sha256": "f" * 64, "offset": 0}]
    label(client, "L1.K2", ADA, confidence=0.1 + 0.2, tags=["a b", '"c"', "=d"], evidence=evidence)
    label(client, "L1.K2", ADA, "semantic")
    label(client, "L1.K2", BEN, "mixed")
    for number, text in enumerate(HOSTILE):
        label(client, f"L0.K{number % 6}", {"X-Keyscope-Person": f"person {number}"}, description=text)
    label(client, "L0.K1", BEN)
    assert client.delete(f"{V1}/runs/alpha/keys/L0.K1/labels", headers=BEN).status_code == 200
    decide(client, "L1.K2", "mixed", 0)
    decide(client, "L1.K2", None, 1)
    decide(client, "L1.K2", "semantic", 2)
    return client


def database_of(client: TestClient) -> Database:
    database: Database = client.app.state.database
    return database


def export(client: TestClient, format: str = "jsonl", **filters: object) -> bytes:
    answer = client.get(f"{V1}/labels/export", params={"format": format, **filters})
    assert answer.status_code == 200, answer.text
    return answer.content


def rows(client: TestClient, **filters: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export(client, **filters).splitlines()]


def send(client: TestClient, content: bytes, format: str = "jsonl", **more: object) -> dict[str, Any]:
    address = f"{V1}/labels/import"
    body = {"params": {"format": format, **more}, "headers": {**ADA, "Content-Type": "application/octet-stream"}}
    answer: dict[str, Any] = client.post(address, content=content, **body).json()  # type: ignore[arg-type]
    return answer


def without_ids(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "id"} for row in found]


def taken_in(directory: Path, registry: Registry, content: bytes, format: Format) -> list[dict[str, Any]]:
    """What an SQLite database of its own exports after taking a file in."""
    url = f"sqlite:///{directory}/elsewhere.sqlite"
    upgrade(url)
    database = Database(url)
    path = directory / f"labels.{format}"
    path.write_bytes(content)
    import_file(database, registry, path, format, dry_run=False)
    with database.transaction() as session:
        sheet = Sheet("labels", records.COLUMNS, list(records.rows(session, records.Filter())))
    database.close()
    return [json.loads(line) for line in to_json_lines(sheet)]


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_taken_into_an_empty_database_is_exported_equal(team: TestClient, format: str):
    before, content = rows(team), export(team, format)
    assert len(before) == 4 + len(HOSTILE) + 3
    with database_of(team).engine.begin() as connection:
        for table in ("labels", "adjudications"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    assert rows(team) == []
    done = send(team, content, format)
    assert done == {"ok": True, "dry_run": False, "added": len(before), "changed": 0, "unchanged": 0}
    assert without_ids(rows(team)) == without_ids(before)


@pytest.mark.parametrize("format", FORMATS)
def test_one_kind_of_database_takes_in_what_the_other_exports(
    team: TestClient, format: Format, registry: Registry, tmp_path: Path
):
    assert without_ids(taken_in(tmp_path, registry, export(team, format), format)) == without_ids(rows(team))


@pytest.mark.parametrize("format", FORMATS)
def test_taking_the_same_export_in_again_changes_nothing(team: TestClient, format: str):
    before = rows(team)
    done = send(team, export(team, format), format)
    assert (done["added"], done["changed"], done["unchanged"]) == (0, 0, len(before))
    assert rows(team) == before


def test_an_older_export_takes_nothing_away(team: TestClient):
    older = export(team)
    label(team, "L1.K2", ADA, "unclear")
    decide(team, "L1.K2", None, 3)
    before = rows(team)
    assert send(team, older)["added"] == 0
    assert rows(team) == before


def test_a_later_export_goes_on_where_this_database_stopped(team: TestClient):
    label(team, "L1.K2", BEN, "unclear")
    decide(team, "L1.K2", None, 3)
    later = rows(team)
    with database_of(team).engine.begin() as connection:
        # back to the state before: the last label and the last decision were never made
        connection.exec_driver_sql("DELETE FROM labels WHERE id = (SELECT max(id) FROM labels)")
        connection.exec_driver_sql(
            "UPDATE labels SET superseded_at = NULL WHERE person = 'Ben' AND layer = 1 AND key_index = 2"
        )
        connection.exec_driver_sql("DELETE FROM adjudications WHERE number = 4")
    done = send(team, "\n".join(map(json.dumps, later)).encode())
    assert (done["added"], done["changed"]) == (2, 1)
    assert without_ids(rows(team)) == without_ids(later)


def test_two_histories_of_one_person_become_one_in_the_order_of_time(client: TestClient):
    label(client, "L1.K2", ADA, "semantic")
    [here] = rows(client)
    began = datetime.fromisoformat(here["created_at"])
    first, between, last = (began + timedelta(hours=hours) for hours in (-3, -2, -1))

    def version(kind: str, start: datetime, end: datetime | None, retracted: bool = False) -> dict[str, Any]:
        own = {"kind": kind, "created_at": start.isoformat(), "superseded_at": end and end.isoformat()}
        return {**here, **own, "retracted": retracted, "current": end is None}

    other = [version("mixed", first, between, retracted=True), version("unclear", last, None)]
    content = "\n".join(map(json.dumps, other)).encode()
    assert send(client, content)["added"] == 2
    merged = sorted(rows(client), key=lambda row: row["created_at"])
    assert [(row["kind"], row["superseded_at"], row["retracted"], row["current"]) for row in merged] == [
        ("mixed", between.isoformat(), True, False),
        ("unclear", began.isoformat(), False, False),
        ("semantic", None, False, True),
    ]
    again = send(client, content)
    assert (again["added"], again["changed"], again["unchanged"]) == (0, 0, 2)


def older(row: dict[str, Any], kind: str, days: int) -> dict[str, Any]:
    """A version that its person gave, and replaced an hour later, days before the one in the row."""
    given = datetime.fromisoformat(row["created_at"]) - timedelta(days=days)
    ended = given + timedelta(hours=1)
    return {**row, "kind": kind, "current": False, "created_at": given.isoformat(), "superseded_at": ended.isoformat()}


def undo(client: TestClient, based_on: int) -> str | None:
    answer = client.post(f"{LABELS}/undo", params={"based_on": based_on}, headers=ADA)
    assert answer.status_code == 200, answer.text
    said = answer.json()["label"]
    return said and str(said["kind"])


def test_undo_goes_back_in_time_although_older_versions_were_imported_later(client: TestClient):
    label(client, "L1.K2", ADA, "mixed")
    [now] = rows(client)
    send(client, json.dumps(older(now, "unclear", 3)).encode())
    label(client, "L1.K2", ADA, "semantic")
    newest = rows(client)[-1]["id"]
    assert undo(client, newest) == "mixed"


def test_the_current_label_can_be_undone_after_an_import_of_older_ones(client: TestClient):
    label(client, "L1.K2", ADA, "mixed")
    [now] = rows(client)
    send(client, "\n".join(json.dumps(older(now, kind, days)) for kind, days in LONG_AGO).encode())
    assert undo(client, now["id"]) == "unclear"


def test_a_label_taken_back_is_brought_back_although_older_ones_were_imported_later(client: TestClient):
    label(client, "L1.K2", ADA, "mixed")
    [now] = rows(client)
    client.delete(LABELS, headers=ADA)
    send(client, json.dumps(older(now, "unclear", 3)).encode())
    assert undo(client, 0) == "mixed"


def test_history_and_export_are_in_the_order_of_time_after_an_import(client: TestClient):
    label(client, "L1.K2", ADA, "mixed")
    [now] = rows(client)
    send(client, "\n".join(json.dumps(older(now, kind, days)) for kind, days in LONG_AGO).encode())
    assert [row["kind"] for row in rows(client)] == ["semantic", "unclear", "mixed"]
    assert [each["kind"] for each in client.get(LABELS).json()["history"]] == ["mixed", "unclear", "semantic"]


def test_the_label_before_another_was_given_before_it_although_it_was_imported_later(
    client: TestClient,
):
    label(client, "L1.K2", ADA, "mixed")
    [now] = rows(client)
    gone = {**older(now, "unclear", 3), "key": "L0.K1", "layer": 0, "index": 1, "current": True, "superseded_at": None}
    send(client, json.dumps(gone).encode())
    number = {row["key"]: row["id"] for row in rows(client)}
    weights = now["weights_sha256"]
    with database_of(client).transaction() as session:
        before = {key: repository.label_before(session, weights, "Ada", number[key]) for key in number}
    assert {key: each and str(each.key) for key, each in before.items()} == {"L1.K2": "L0.K1", "L0.K1": None}


def test_the_export_of_merged_decisions_keeps_the_same_one_in_force(
    client: TestClient, registry: Registry, tmp_path: Path
):
    decide(client, "L1.K2", "mixed", 0)
    [here] = rows(client)
    earlier = datetime.fromisoformat(here["created_at"]) - timedelta(days=1)
    send(client, json.dumps({**here, "kind": "unclear", "created_at": earlier.isoformat()}).encode())
    elsewhere = taken_in(tmp_path, registry, export(client), "jsonl")
    assert [(row["kind"], row["current"]) for row in elsewhere] == [("unclear", False), ("mixed", True)]


def test_a_label_taken_back_elsewhere_is_taken_back_here(client: TestClient):
    label(client, "L1.K2", ADA)
    [here] = rows(client)
    gone = {**here, "superseded_at": datetime.now(UTC).isoformat(), "retracted": True, "current": False}
    for added, changed, unchanged in ((0, 1, 1), (0, 0, 1)):
        done = send(client, json.dumps(gone).encode())
        assert (done["added"], done["changed"], done["unchanged"]) == (added, changed, unchanged)
        assert rows(client) == [gone]


def test_decisions_of_two_databases_are_put_in_order(client: TestClient):
    decide(client, "L1.K2", "mixed", 0)
    [here] = rows(client)
    earlier = datetime.fromisoformat(here["created_at"]) - timedelta(days=1)
    other = {**here, "person": "Eve", "kind": "unclear", "created_at": earlier.isoformat()}
    assert send(client, json.dumps(other).encode())["added"] == 1
    found = client.get(f"{V1}/runs/alpha/keys/L1.K2/adjudications").json()["adjudications"]
    assert [(each["number"], each["person"]) for each in found] == [(2, "Ada"), (1, "Eve")]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(team: TestClient):
    before = rows(team)
    new = {**before[0], "person": "Eve"}
    done = send(team, "\n".join(map(json.dumps, [*before, new])).encode(), dry_run=True)
    assert done == {"ok": True, "dry_run": True, "added": 1, "changed": 0, "unchanged": len(before)}
    assert rows(team) == before


def valid(client: TestClient) -> dict[str, Any]:
    label(client, "L1.K2", ADA)
    return rows(client)[0]


WRONG: dict[str, dict[str, Any]] = {
    "kind: ": {"kind": "nice"},
    "a label needs a kind": {"kind": None},
    "person: ": {"person": " "},
    "key: ": {"key": "K2"},
    "has no key L9.K9": {"key": "L9.K9", "layer": 9, "index": 9},
    "do not match the key": {"layer": 0},
    "current if and only if": {"current": False},
    "confidence: ": {"confidence": 1.5},
    "tags": {"tags": [""]},
    "evidence": {"evidence": [{"file_sha256": "x", "offset": 0}]},
    "weights_sha256: ": {"weights_sha256": "abc"},
    "is in the future": {"created_at": (datetime.now(UTC) + timedelta(days=2)).isoformat()},
    "created_at: ": {"created_at": "2026-01-01T00:00:00"},
    "cannot end before it begins": {"superseded_at": "2001-01-01T00:00:00Z", "current": False},
    "description: ": {"description": "a\0b"},
    "surprise: ": {"surprise": 1},
}


RIGHT: dict[str, Any] = {
    "person": "Ada",
    "key": "L1.K2",
    "kind": "mixed",
    "weights_sha256": "a" * 64,
    "created_at": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(("words", "changes"), WRONG.items(), ids=WRONG)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, words: str, changes: dict[str, Any]):
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, [RIGHT, {**RIGHT, "person": "Eve", **changes}])))
    with pytest.raises(ImportRefused, match="line 2") as caught:
        importing.check(path, "jsonl", {"a" * 64: lambda _stack: [6, 6]})
    [problem] = caught.value.problems
    assert problem.line == 2
    assert words in problem.problem


def test_one_wrong_row_keeps_all_out(client: TestClient):
    right = valid(client)
    lines = [{**right, "person": "Eve"}, {**right, "person": "Fay", "kind": "nice"}]
    answer = send(client, "\n".join(map(json.dumps, lines)).encode())
    assert answer["error"] == "import_refused"
    assert [each["line"] for each in answer["problems"]] == [2]
    assert [row["person"] for row in rows(client)] == ["Ada"]


def test_every_wrong_line_is_named_and_counted(client: TestClient):
    right = valid(client)
    lines = ["{", "[]", '{"a": 1', "", *[json.dumps({**right, "kind": "nice"})] * 1100]
    answer = send(client, "\n".join(lines).encode())
    assert "1,103 rows are wrong" in answer["detail"]
    assert [each["line"] for each in answer["problems"]] == [1, 2, 3, *range(5, 1002)]


def test_one_person_has_one_current_label_of_a_key(client: TestClient):
    right = valid(client)
    other = {**right, "created_at": "2026-01-01T00:00:00Z"}
    answer = send(client, "\n".join(map(json.dumps, [right, other])).encode())
    assert answer["problems"] == [
        {"line": 2, "problem": "it is a second current label of L1.K2 by Ada; the first is in line 1"}
    ]


@pytest.mark.parametrize(
    ("format", "content", "words"),
    [
        ("csv", b"person,key\r\nAda\r\n", "it does not have 2 cells"),
        ("csv", b"person,tags\r\nAda,[\r\n", "tags and evidence must be JSON"),
        ("csv", b"person\r\n\xff\xfe\r\n", "not CSV in UTF-8"),
        ("csv", b'person\r\n"open', "not CSV"),
        ("jsonl", b"\xff\n", "not JSON"),
        ("jsonl", b"[" * 100_000, "not JSON"),
        ("parquet", b"PAR1 this is none", "not Parquet"),
    ],
)
def test_a_file_that_is_none_is_said_so(tmp_path: Path, format: Format, content: bytes, words: str):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ImportRefused, match=words):
        importing.check(path, format, {})


def equal_rows(path: Path, n: int, **changes: str) -> Path:
    """A Parquet file of so many equal rows, which takes little room."""
    columns = ", ".join(f"'{value}' AS {name}" for name, value in (RIGHT | changes).items())
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {columns} FROM range({n})) TO '{path}' (FORMAT parquet)")
    return path


def test_a_file_of_too_many_rows_is_refused_by_what_it_says_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = equal_rows(tmp_path / "labels.parquet", 3_000_000)
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(importing, "read_rows", lambda *_: pytest.fail("its rows were read"))
    with pytest.raises(importing.TooManyRows, match=r"has 3,000,000 rows, one import may have 1,000,000"):
        importing.check(path, "parquet", {})


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_text_of_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Format):
    monkeypatch.setattr(importing, "MOST_ROWS", 3)
    path = tmp_path / "labels"
    path.write_text("a\n" + "1\n" * 4)
    with pytest.raises(importing.TooManyRows, match=r"more than 3 rows"):
        importing.check(path, format, {})


def test_small_files_do_not_take_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_files, "MOST_BYTES", 10_000)
    path = equal_rows(tmp_path / "labels.parquet", 1000, superseded_at="2026-01-02T00:00:00Z")
    with pytest.raises(ImportRefused, match=r"line \d\d: the rows have over 10,000 bytes as JSON"):
        importing.check(path, "parquet", {})
    path = equal_rows(tmp_path / "long.parquet", 3, description="x" * 200_000)
    with pytest.raises(ImportRefused, match=r"line 1: it has 200,\d+ bytes as JSON, a row may have 131,072") as caught:
        importing.check(path, "parquet", {})
    assert len(caught.value.problems) == 3
    path = equal_rows(tmp_path / "longest.parquet", 3000, description="x" * 1_000_000)
    with pytest.raises(ImportRefused, match=r"cannot be read in 512MB of memory"):
        importing.check(path, "parquet", {})


def test_a_line_longer_than_a_row_may_be_is_not_read(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    path.write_text("[" + "1," * 200_000 + "\n" + json.dumps(RIGHT | {"kind": "nice"}))
    with pytest.raises(ImportRefused, match=r"line 1: it has more than 131,072 bytes.*; line 2: kind"):
        importing.check(path, "jsonl", {})


def test_lines_of_a_csv_are_counted_with_breaks_inside_cells(client: TestClient):
    valid(client)
    lines = export(client, "csv").decode().splitlines()
    wrong = lines[1].replace("syntactic,", 'syntactic,"two\nlines"', 1).replace("Ada", "Eve")
    answer = send(client, "\r\n".join([lines[0], wrong, lines[1].replace("syntactic", "nice")]).encode(), "csv")
    assert [each["line"] for each in answer["problems"]] == [4]


def test_only_an_admin_takes_labels_in(client: TestClient):
    refused = client.post(f"{V1}/labels/import", content=b"", headers={"Content-Type": "application/octet-stream"})
    assert refused.status_code == 422
    assert refused.json()["error"] == "name_needed"


def test_an_export_is_narrowed(team: TestClient):
    weights = rows(team)[0]["weights_sha256"]
    everything = rows(team)
    narrowed = {
        "record": ("adjudication", lambda row: row["record"] == "adjudication"),
        "person": ("Ben", lambda row: row["person"] == "Ben"),
        "kind": ("mixed", lambda row: row["kind"] == "mixed"),
        "layer": (1, lambda row: row["layer"] == 1),
        "current": (True, lambda row: row["current"]),
        "weights_sha256": (weights, lambda row: True),
        "run": ("gated", lambda row: False),
    }
    for name, (value, keep) in narrowed.items():
        assert rows(team, **{name: value}) == [row for row in everything if keep(row)], name
    assert team.get(f"{V1}/labels/export?run=nowhere").status_code == 404


def test_a_decision_ends_with_the_next_one(team: TestClient):
    decisions = rows(team, record="adjudication")
    assert [row["kind"] for row in decisions] == ["mixed", None, "semantic"]
    assert [row["superseded_at"] for row in decisions] == [decisions[1]["created_at"], decisions[2]["created_at"], None]


def test_an_export_says_how_long_it_is_and_leaves_no_file(
    team: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    uncompressed = {"Accept-Encoding": "identity"}
    for format in FORMATS:
        answer = team.get(f"{V1}/labels/export", params={"format": format}, headers=uncompressed)
        assert int(answer.headers["Content-Length"]) == len(answer.content) > 100
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_parquet_export_has_true_types(team: TestClient, tmp_path: Path):
    (tmp_path / "labels.parquet").write_bytes(export(team, "parquet"))
    relation = duckdb.read_parquet(str(tmp_path / "labels.parquet"))
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    assert types["created_at"] == "TIMESTAMP WITH TIME ZONE"
    assert types["tags"] == "VARCHAR[]"
    assert types["confidence"] == "DOUBLE"


def test_a_wrong_row_stops_an_import_from_the_command_line_too(database: Database, registry: Registry, tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"person": "Ada"}\n')
    with pytest.raises(ImportRefused, match="line 1: key: Field required"):
        import_file(database, registry, path, "jsonl", dry_run=True)


def test_an_export_per_key_counts_current_labels_and_says_what_a_key_is(client: TestClient):
    label(client, "L1.K2", ADA, "mixed", description="old")
    label(client, "L1.K2", ADA, "semantic", description="numpy, =really", tags=["b", "a"])
    label(client, "L1.K2", BEN, "semantic", tags=["b", "=c"])
    label(client, "L1.K2", {"X-Keyscope-Person": "Cyd"}, "mixed")
    label(client, "L0.K3", ADA, "syntactic")
    label(client, "L0.K3", BEN, "semantic")
    label(client, "L0.K4", ADA, "syntactic")
    assert client.delete(f"{V1}/runs/alpha/keys/L0.K4/labels", headers=ADA).status_code == 200
    decide(client, "L0.K3", "unclear", 0)
    decide(client, "L0.K5", "mixed", 0)
    decide(client, "L0.K2", "mixed", 0)
    decide(client, "L0.K2", None, 1)
    found = rows(client, shape="keys", run="alpha")
    assert [(each["key"], each["n_labels"], each["majority"], each["decision"], each["final"]) for each in found] == [
        ("L0.K3", 2, None, "unclear", "unclear"),
        ("L0.K5", 0, None, "mixed", "mixed"),
        ("L1.K2", 3, "semantic", None, "semantic"),
    ]
    last = found[-1]
    assert [last[kind] for kind in ("syntactic", "semantic", "mixed", "unclear")] == [0, 2, 1, 0]
    assert last["people"] == ["Ada", "Ben", "Cyd"]
    assert last["tags"] == ["=c", "a", "b"]
    assert last["descriptions"] == ["numpy, =really"]
    assert [each["key"] for each in rows(client, shape="keys", layer=1)] == ["L1.K2"]
    assert rows(client, shape="keys", run="gated") == []
    assert client.get(f"{V1}/labels/export?shape=keys&person=Ada").status_code == 422


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_per_key_is_a_table_and_no_import(team: TestClient, tmp_path: Path, format: str):
    content = export(team, format, shape="keys")
    path = tmp_path / f"keys.{format}"
    path.write_bytes(content)
    reader = {"csv": "read_csv", "jsonl": "read_json", "parquet": "read_parquet"}[format]
    with duckdb.connect() as connection:
        [(keys, labels)] = connection.execute(
            f"SELECT count(*), sum(n_labels) FROM {reader}(?)", [str(path)]
        ).fetchall()
    assert (keys, labels) == (len(rows(team, shape="keys")), 2 + len(HOSTILE))
    before = rows(team)
    refused = send(team, content, format)
    assert refused["error"] == "one_row_per_key"
    assert "one row per label" in refused["detail"]
    assert rows(team) == before
