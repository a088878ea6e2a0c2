"""The form that takes an export in: it says first what that would do, and does what the API and the command do."""

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from keyscope.app.database.engine import Database, upgrade
from keyscope.app.labels import importing
from keyscope.app.pages.labels import label_import
from keyscope.app.runs import Registry
from tests.app.api.test_label_exports import ADA, BEN, FORMATS, export, label, rows, without_ids

FORM = "/labels/import"
NAMELESS: dict[str, str] = {}


@pytest.fixture
def team(client: TestClient) -> TestClient:
    label(client, "L1.K2", ADA, "semantic", description="=brackets")
    label(client, "L1.K2", BEN, "mixed")
    label(client, "L0.K1", BEN)
    return client


def send(
    client: TestClient, content: bytes, name: str = "labels.jsonl", person: dict[str, str] = ADA, **more: str
) -> Any:
    return client.post(FORM, files={"file": (name, content)}, data=more, headers=person)


def check(client: TestClient, content: bytes, name: str = "labels.jsonl") -> str:
    """Have a file checked; answers what the button that imports it sends along."""
    answer = send(client, content, name)
    assert answer.status_code == 200, answer.text
    found = re.search(r'name="checked" value="(\w+)"', answer.text)
    assert found is not None
    return found[1]


def counts(text: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([\d,]+)", text.split('<div id="outcome">')[1]))


def empty(labels_url: str) -> None:
    database = Database(labels_url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM labels")
    database.close()


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_checked_first_and_imported_then(team: TestClient, labels_url: str, format: str):
    before, content = rows(team), export(team, format)
    empty(labels_url)
    name = f"Export.{format.upper()}"
    checked = check(team, content, name)
    assert rows(team) == [], "checking changes nothing"
    answer = send(team, content, name, action="import", checked=checked)
    assert f"{name} is imported" in answer.text
    assert counts(answer.text) == {"added": "3", "changed": "0", "unchanged": "0"}
    assert without_ids(rows(team)) == without_ids(before)


def test_the_preview_says_what_would_be_added_changed_and_unchanged(team: TestClient):
    before = rows(team)
    there = [row for row in before if row["key"] == "L1.K2"]
    [own] = [row for row in before if row["key"] == "L0.K1"]
    later = own | {"kind": "semantic", "created_at": datetime.now(UTC).isoformat()}
    elsewhere = own | {"key": "L0.K3", "index": 3}
    answer = send(team, "\n".join(map(json.dumps, [*there, later, elsewhere])).encode())
    assert answer.status_code == 200, answer.text
    assert counts(answer.text) == {"would be added": "2", "would be changed": "1", "unchanged": "2"}
    assert rows(team) == before


def test_another_file_than_the_one_checked_is_not_imported_but_checked(team: TestClient, labels_url: str):
    content = export(team)
    empty(labels_url)
    checked = check(team, content)
    other = b"\n".join(content.splitlines()[:1])
    answer = send(team, other, action="import", checked=checked)
    assert "this is not the file you checked" in answer.text
    assert counts(answer.text)["would be added"] == "1"
    unchecked = send(team, content, action="import")
    assert "this is not the file you checked" in unchecked.text
    assert rows(team) == []


def test_wrong_rows_are_told_by_line_and_nothing_is_imported(team: TestClient, labels_url: str):
    content = export(team)
    empty(labels_url)
    first, second, third = content.splitlines()
    wrong = b"\n".join([first, second.replace(b"mixed", b"<b>mixt</b>"), b"no JSON", third])
    answer = send(team, wrong)
    assert answer.status_code == 422
    assert "nothing was imported, because 2 rows are wrong" in answer.text
    told = dict(re.findall(r'<th scope="row" class="n">(\d+)</th><td class="wrap">([^<]+)</td>', answer.text))
    assert told.keys() == {"2", "3"}
    assert "<b>mixt" not in answer.text
    assert "it is not JSON" in told["3"]
    assert 'name="checked"' not in answer.text
    assert rows(team) == []


def test_the_columns_said_to_be_needed_are_those_that_are(team: TestClient, labels_url: str):
    [row, *_] = rows(team)
    empty(labels_url)
    said = re.findall(r"<code>(\w+)</code>", team.get(FORM, headers=ADA).text.split("Required:")[1].split("</p>")[0])
    assert send(team, json.dumps({name: row[name] for name in said}).encode()).status_code == 200
    for lacking in said:
        fewer = {name: row[name] for name in said if name != lacking}
        assert send(team, json.dumps(fewer).encode()).status_code == 422, lacking


def test_what_is_there_already_is_not_offered_again(team: TestClient):
    answer = send(team, export(team))
    assert counts(answer.text) == {"would be added": "0", "would be changed": "0", "unchanged": "3"}
    assert "Nothing to import" in answer.text
    assert 'value="import"' not in answer.text


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("labels.xlsx", b"x", "labels.xlsx does not end in .csv, .jsonl or .parquet"),
        ("", b"", "no file was sent"),
        ("<b>.csv", b"person\n\xff", "the file is not CSV in UTF-8"),
        ("labels.parquet", b"no Parquet", "the file is not Parquet"),
    ],
)
def test_a_file_that_is_none_is_refused_on_the_form(team: TestClient, name: str, content: bytes, shown: str):
    answer = send(team, content, name)
    assert answer.status_code == 422
    assert shown in html.unescape(answer.text)
    assert 'id="import"' in answer.text


def test_no_file_at_all_is_refused_on_the_form(team: TestClient):
    answer = team.post(FORM, data={"action": "check"}, headers=ADA)
    assert answer.status_code == 422
    assert "no file was sent" in answer.text


def test_a_file_too_large_is_refused_with_its_size_and_the_limit(team: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_import, "MAX_FILE_BYTES", 1_000)
    answer = send(team, b"x" * 1_234, "big.csv")
    assert answer.status_code == 413
    assert "big.csv has 1,234 bytes, the limit is 1,000" in answer.text
    monkeypatch.undo()
    beyond = send(team, b"x" * (8 * 2**20 + 1), "huge.csv")
    assert beyond.status_code == 413
    assert re.search(r"has 8,38[89],\d\d\d bytes or more, the limit is 8,388,608", beyond.text)


def test_who_has_not_said_their_name_is_asked_for_it_before_they_import(team: TestClient):
    assert "Set your name" in team.get(FORM).text
    assert send(team, export(team), person=NAMELESS).status_code == 422
    assert f'href="{FORM}?run=alpha"' in team.get("/labels?run=alpha").text
    assert f'href="{FORM}?run=gated"' in team.get("/labels?run=gated").text, "there are no labels there yet"


def test_the_form_does_what_the_command_does(team: TestClient, registry: Registry, labels_url: str, tmp_path: Path):
    content = export(team)
    empty(labels_url)
    send(team, content, action="import", checked=check(team, content))
    url = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    upgrade(url)
    path = tmp_path / "labels.jsonl"
    path.write_bytes(content)
    elsewhere = Database(url)
    done = importing.import_file(elsewhere, registry, path, "jsonl")
    elsewhere.close()
    assert done.added == len(rows(team)) == 3
