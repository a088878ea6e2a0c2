import html

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from keyscope.app.labels.codebook import SHIPPED
from keyscope.app.labels.models import Kind

V1 = "/api/v1/codebook"
ADA, BEN = ({"X-Keyscope-Person": name} for name in ("Ada", "Ben"))
CODEBOOK = "/labels/codebook?run=alpha"


def send(client: TestClient, person: dict[str, str] = ADA, **fields: object) -> Response:
    form = {"kind": "semantic", "definition": "about a library", "seen": 0, **fields}
    return client.post(CODEBOOK, data=form, headers=person)


def test_the_codebook_is_beside_the_question_and_on_a_page(client: TestClient):
    queue = client.get("/labels/queue?run=alpha&strategy=sample", headers=ADA).text
    key = client.get("/runs/alpha/keys/L1.K2", headers=ADA).text
    page = client.get(CODEBOOK, headers=ADA).text
    for kind in Kind:
        assert all(SHIPPED[kind] in html.unescape(each) for each in (queue, key, page))
    assert page.count("As shipped") == 4


def test_an_entry_is_changed_and_its_examples_are_linked(client: TestClient):
    page = send(client, example="L1.K2", counter_example=" L0.K3 ")
    assert page.status_code == 200
    assert "Version 1, by Ada" in page.text
    key = client.get("/runs/alpha/keys/L1.K4", headers=ADA).text
    assert "about a library" in key
    assert 'href="/runs/alpha/keys/L1.K2">L1.K2</a>.' in key
    assert 'href="/runs/alpha/keys/L0.K3">L0.K3</a>.' in key
    other = client.get("/labels/codebook?run=gated", headers=ADA).text
    assert "about a library" in other
    assert "/keys/L1.K2" not in other


def test_what_somebody_else_changed_is_shown_and_what_was_typed_is_kept(client: TestClient):
    send(client, BEN, definition="as Ben says")
    refused = send(client, definition="as Ada says <b>")
    assert refused.status_code == 409
    assert "Ben wrote version 1" in refused.text
    assert "<p>as Ben says</p>" in refused.text
    assert "as Ada says &lt;b&gt;</textarea>" in refused.text
    assert send(client, definition="as Ada says", seen=1).status_code == 200
    assert [each["person"] for each in client.get(V1).json()["history"]] == ["Ada", "Ben"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"example": "L9.K9"}, 404), ({"example": "nonsense"}, 422), ({"definition": " "}, 422), ({"kind": "odd"}, 422)],
)
def test_an_entry_that_makes_no_sense_is_refused(client: TestClient, fields: dict[str, object], status: int):
    assert send(client, **fields).status_code == status
    assert client.get(V1).json()["history"] == []


def test_programs_read_and_change_it(client: TestClient):
    body = {"kind": "mixed", "definition": " both ", "example": "L1.K2", "version": 0}
    changed = client.put(f"{V1}?run=alpha", json=body, headers=ADA)
    assert changed.status_code == 200, changed.text
    entry = next(each for each in changed.json()["entries"] if each["kind"] == "mixed")
    assert (entry["definition"], entry["example"], entry["version"]) == ("both", "L1.K2", 1)
    elsewhere = next(each for each in client.get(f"{V1}?run=gated").json()["entries"] if each["kind"] == "mixed")
    assert (elsewhere["definition"], elsewhere["example"]) == ("both", None)
    stale = client.put(f"{V1}?run=alpha", json=body, headers=ADA)
    assert (stale.status_code, stale.json()["error"]) == (409, "codebook_changed")
    assert client.put(V1, json={**body, "version": 1}, headers=ADA).status_code == 422
    assert (
        client.put(f"{V1}?run=alpha", json={**body, "version": 1, "example": "L9.K9"}, headers=ADA).status_code == 404
    )
