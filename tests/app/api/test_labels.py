import csv
import io
import json
import threading
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient

from keyscope.app.database.engine import downgrade, upgrade
from keyscope.app.labels import repository
from keyscope.app.main import create_app
from keyscope.app.settings import Settings

V1 = "/api/v1"
URL = f"{V1}/runs/alpha/keys/L1.K2/labels"
ADA, BEN = {"X-Keyscope-Person": "Ada"}, {"X-Keyscope-Person": "Ben"}
BODY = {
    "kind": "syntactic",
    "description": "opening brackets",
    "confidence": 0.8,
    "tags": ["call", "numpy"],
    "evidence": [{"file_sha256": "0" * 64, "offset": 12}],
}


def put(client: TestClient, person: dict[str, str], **changes: object) -> dict[str, object]:
    answer = client.put(URL, json={**BODY, **changes}, headers=person)
    assert answer.status_code == 200, answer.text
    label: dict[str, object] = answer.json()["label"]
    return label


def test_a_label_is_kept_as_it_was_given(client: TestClient):
    given = put(client, ADA)
    [label] = client.get(URL).json()["labels"]
    assert label == given
    assert {name: label[name] for name in BODY} == BODY
    assert (label["person"], label["key"], label["current"]) == ("Ada", "L1.K2", True)


def test_only_the_kind_has_to_be_given(client: TestClient):
    label = client.put(URL, json={"kind": "unclear"}, headers=ADA).json()["label"]
    assert (label["description"], label["confidence"], label["tags"], label["evidence"]) == ("", None, [], [])


def test_a_later_label_replaces_ones_own_and_the_history_keeps_both(client: TestClient):
    put(client, ADA, kind="syntactic")
    put(client, ADA, kind="semantic")
    answer = client.get(URL).json()
    assert [label["kind"] for label in answer["labels"]] == ["semantic"]
    assert [(label["kind"], label["current"]) for label in answer["history"]] == [
        ("semantic", True),
        ("syntactic", False),
    ]
    assert answer["history"][1]["superseded_at"] == answer["history"][0]["created_at"]


def test_each_person_has_a_label_of_their_own(client: TestClient):
    put(client, BEN, kind="mixed")
    put(client, ADA)
    assert [label["person"] for label in client.get(URL).json()["labels"]] == ["Ada", "Ben"]


def test_a_label_is_taken_back_by_its_person_alone_and_stays_in_the_history(client: TestClient):
    put(client, ADA)
    refused = client.delete(URL, headers=BEN)
    assert refused.status_code == 404
    assert refused.json()["error"] == "no_label"
    assert client.delete(URL, headers=ADA).json() == {"ok": True}
    answer = client.get(URL).json()
    assert answer["labels"] == []
    assert [label["retracted"] for label in answer["history"]] == [True]
    assert client.delete(URL, headers=ADA).status_code == 404


def test_a_label_based_on_what_is_no_more_is_not_saved(client: TestClient):
    first = put(client, ADA, based_on=0)
    second = put(client, ADA, kind="semantic", based_on=first["id"])
    for stale in (0, first["id"]):
        answer = client.put(URL, json={**BODY, "kind": "mixed", "based_on": stale}, headers=ADA)
        assert answer.status_code == 409
        assert answer.json()["error"] == "label_changed"
        assert f"now there is label {second['id']}" in answer.json()["detail"]
    assert client.delete(f"{URL}?based_on={first['id']}", headers=ADA).status_code == 409
    assert client.post(f"{URL}/undo?based_on={first['id']}", headers=ADA).status_code == 409
    assert [label["kind"] for label in client.get(URL).json()["history"]] == ["semantic", "syntactic"]
    assert client.delete(f"{URL}?based_on={second['id']}", headers=ADA).status_code == 200
    answer = client.put(URL, json={**BODY, "based_on": second["id"]}, headers=ADA)
    assert "now there is no label" in answer.json()["detail"]


def test_of_many_changes_based_on_one_label_one_is_saved(client: TestClient):
    first = put(client, ADA)
    statuses: list[int] = []

    def change(number: int) -> None:
        body = {**BODY, "description": str(number), "based_on": first["id"]}
        statuses.append(client.put(URL, json=body, headers=ADA).status_code)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7
    assert len(client.get(URL).json()["history"]) == 2


def test_undo_says_again_what_was_said_before(client: TestClient):
    first = put(client, ADA)
    put(client, ADA, kind="semantic", description="changed", confidence=None, tags=[], evidence=[])
    undone = client.post(f"{URL}/undo", headers=ADA).json()["label"]
    assert {name: undone[name] for name in BODY} == {name: first[name] for name in BODY}
    history = client.get(URL).json()["history"]
    assert [label["kind"] for label in history] == ["syntactic", "semantic", "syntactic"]
    assert [label["current"] for label in history] == [True, False, False]
    again = client.post(f"{URL}/undo", headers=ADA).json()["label"]
    assert (again["kind"], again["description"]) == ("semantic", "changed")


def test_undo_of_a_first_label_takes_it_back_and_undo_of_that_brings_it_back(client: TestClient):
    put(client, ADA)
    assert client.post(f"{URL}/undo", headers=ADA).json() == {"ok": True, "label": None}
    assert client.get(URL).json()["labels"] == []
    assert client.post(f"{URL}/undo", headers=ADA).json()["label"]["kind"] == "syntactic"
    assert [label["retracted"] for label in client.get(URL).json()["history"]] == [False, True]


def test_undo_of_a_label_after_one_taken_back_leaves_nothing(client: TestClient):
    put(client, ADA)
    client.delete(URL, headers=ADA)
    put(client, ADA, kind="mixed")
    assert client.post(f"{URL}/undo", headers=ADA).json()["label"] is None


def test_undo_touches_nobody_elses_label(client: TestClient):
    put(client, BEN)
    answer = client.post(f"{URL}/undo", headers=ADA)
    assert answer.status_code == 404
    assert answer.json()["error"] == "no_label"
    assert len(client.get(URL).json()["labels"]) == 1


def test_a_history_never_runs_backwards(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    put(client, ADA)
    monkeypatch.setattr(repository, "datetime", Behind)
    put(client, ADA, kind="semantic")
    later, earlier = client.get(URL).json()["history"]
    assert earlier["created_at"] == earlier["superseded_at"] == later["created_at"]


def test_tags_are_suggested_by_how_often_they_are_used_now(client: TestClient):
    put(client, ADA, tags=["call"])
    put(client, ADA, tags=["call", "numpy"])
    put(client, BEN, tags=["call"])
    tags = client.get(f"{V1}/runs/alpha/tags").json()["tags"]
    assert tags == [{"tag": "call", "count": 2}, {"tag": "numpy", "count": 1}]
    assert client.get(f"{V1}/runs/gated/tags").json()["tags"] == []


def test_labels_are_part_of_the_key(client: TestClient):
    label = put(client, ADA)
    assert client.get(f"{V1}/runs/alpha/keys/L1.K2").json()["labels"] == [label]
    assert client.get(f"{V1}/runs/alpha/keys/L1.K3").json()["labels"] == []


def test_labels_belong_to_the_weights_and_outlive_the_run_file(client: TestClient, runs_dir: Path):
    put(client, ADA)
    (runs_dir / "again.duckdb").hardlink_to(runs_dir / "alpha.duckdb")
    try:
        labels = client.get(URL.replace("alpha", "again")).json()["labels"]
    finally:
        (runs_dir / "again.duckdb").unlink()
    assert [label["person"] for label in labels] == ["Ada"]
    assert client.get(URL.replace("alpha", "gated")).json()["labels"] == []


def test_a_name_may_be_any_text_sent_as_utf8(client: TestClient):
    label = client.put(URL, json=BODY, headers={"X-Keyscope-Person": "  Zoë 数  K. ".encode()}).json()["label"]
    assert label["person"] == "Zoë 数 K."


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, "name_needed"),
        ({"X-Keyscope-Person": ""}, "invalid_parameter"),
        ({"X-Keyscope-Person": "   "}, "invalid_parameter"),
        ({"X-Keyscope-Person": "x" * 101}, "invalid_parameter"),
    ],
)
@pytest.mark.parametrize(("method", "url"), [("PUT", URL), ("DELETE", URL), ("POST", f"{URL}/undo")])
def test_nothing_is_said_without_a_person(
    client: TestClient, method: str, url: str, headers: dict[str, str], error: str
):
    answer = client.request(method, url, json=BODY, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"] == error


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "nice"},
        {"confidence": 1.5},
        {"confidence": "high"},
        {"tags": [""]},
        {"tags": ["x" * 51]},
        {"evidence": [{"file_sha256": "abc", "offset": 0}]},
        {"evidence": [{"file_sha256": "0" * 64, "offset": -1}]},
        {"description": "x" * 4001},
        {"description": "a\0b"},
        {"tags": ["a\0b"]},
        {"tags": ["a,b"]},
        {"description": "\ud800"},
        {"based_on": -1},
        {"unknown": 1},
    ],
)
def test_a_label_that_makes_no_sense_is_refused(client: TestClient, changes: dict[str, object]):
    answer = client.put(URL, content=json.dumps({**BODY, **changes}), headers=ADA)
    assert answer.status_code == 422
    assert client.get(URL).json()["history"] == []


def test_a_key_that_does_not_exist_takes_no_label(client: TestClient):
    answer = client.put(URL.replace("L1.K2", "L1.K6"), json=BODY, headers=ADA)
    assert answer.status_code == 404
    assert answer.json()["error"] == "unknown_key"


def test_the_export_has_every_label_the_moment_it_is_given(client: TestClient, tmp_path: Path):
    put(client, ADA, kind="syntactic", description="=cmd()")
    put(client, ADA, kind="semantic", confidence=None)
    put(client, BEN)
    text = client.get(f"{V1}/labels/export?format=csv").text
    lines = client.get(f"{V1}/labels/export?format=jsonl").text
    (tmp_path / "labels.parquet").write_bytes(client.get(f"{V1}/labels/export?format=parquet").content)
    by_csv = list(csv.DictReader(io.StringIO(text, newline="")))
    by_json = [json.loads(line) for line in lines.splitlines()]
    relation = duckdb.read_parquet(str(tmp_path / "labels.parquet")).project("* EXCLUDE (created_at, superseded_at)")
    by_parquet = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    for rows in (by_json, by_parquet):
        assert [(row["person"], row["key"], row["current"]) for row in rows] == [
            ("Ada", "L1.K2", False),
            ("Ada", "L1.K2", True),
            ("Ben", "L1.K2", True),
        ]
        assert rows[0]["evidence"] == BODY["evidence"]
        assert rows[0]["tags"] == BODY["tags"]
    assert [row["person"] for row in by_csv] == ["Ada", "Ada", "Ben"]
    assert by_csv[0]["description"] == "'=cmd()"
    assert by_json[0]["description"] == by_parquet[0]["description"] == "=cmd()"


def test_an_export_may_leave_the_history_and_other_weights_out(client: TestClient):
    first = put(client, ADA)
    put(client, ADA, kind="semantic")
    weights = client.get(f"{V1}/runs/alpha").json()["weights_sha256"]
    current = client.get(f"{V1}/labels/export", params={"format": "jsonl", "current": True}).text
    own = client.get(f"{V1}/labels/export", params={"format": "jsonl", "weights_sha256": weights}).text
    other = client.get(f"{V1}/labels/export", params={"format": "jsonl", "weights_sha256": "0" * 64}).text
    assert [json.loads(line)["kind"] for line in current.splitlines()] == ["semantic"]
    assert json.loads(own.splitlines()[0])["id"] == first["id"]
    assert other == ""


def test_people_who_label_at_once_lose_nothing(client: TestClient):
    failed: list[str] = []

    def label(number: int) -> None:
        for turn in range(5):
            headers = {"X-Keyscope-Person": f"person {number % 4}"}
            answer = client.put(URL, json={"kind": "mixed", "description": f"{number}.{turn}"}, headers=headers)
            if answer.status_code != 200:
                failed.append(answer.text)

    threads = [threading.Thread(target=label, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answer = client.get(URL).json()
    assert failed == []
    assert [each["person"] for each in answer["labels"]] == [f"person {number}" for number in range(4)]
    assert {each["description"] for each in answer["history"]} == {f"{n}.{t}" for n in range(8) for t in range(5)}


def test_a_key_is_shown_without_labels_where_the_schema_is_behind(settings: Settings):
    with TestClient(create_app(settings)):
        pass
    downgrade(settings.labels_url, "base")
    try:
        with TestClient(create_app(settings)) as client:
            answer = client.get(f"{V1}/runs/alpha/keys/L1.K2")
            refused = client.put(URL, json=BODY, headers=ADA)
    finally:
        upgrade(settings.labels_url)
    assert answer.status_code == 200
    assert "keyscope db upgrade" in answer.json()["labels_problem"]
    assert refused.status_code == 503
    assert refused.json()["error"] == "database_behind"


def test_a_basket_is_saved_under_one_id_and_comes_back(client: TestClient):
    masks = [{"key": f"L0.K{index % 6}", "factor": 0.5} for index in range(6)] + [{"key": "l1.k3"}]
    saved = client.post(f"{V1}/baskets", json={"masks": masks})
    again = client.post(f"{V1}/baskets", json={"masks": masks}).json()
    loaded = client.get(f"{V1}/baskets/{saved.json()['id']}").json()
    assert saved.status_code == 201
    assert again["id"] == saved.json()["id"]
    assert loaded == saved.json()
    assert loaded["mask"].endswith("L0.K5:0.5,L1.K3:0")
    assert loaded["masks"][-1] == {"key": "L1.K3", "factor": 0.0}


def test_a_basket_may_hold_every_key_of_a_large_layer(client: TestClient):
    masks = [{"key": f"L31.K{index}", "factor": 0.25} for index in range(10_240)]
    saved = client.post(f"{V1}/baskets", json={"masks": masks}).json()
    assert len(client.get(f"{V1}/baskets/{saved['id']}").json()["masks"]) == 10_240


@pytest.mark.parametrize("masks", [[], [{"key": "x"}], [{"key": "L0.K0", "factor": 0}, {"key": "L0.K0", "factor": 1}]])
def test_a_basket_that_makes_no_sense_is_refused(client: TestClient, masks: list[object]):
    assert client.post(f"{V1}/baskets", json={"masks": masks}).status_code == 422


def test_an_unknown_basket_is_named(client: TestClient):
    answer = client.get(f"{V1}/baskets/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"] == "unknown_basket"
