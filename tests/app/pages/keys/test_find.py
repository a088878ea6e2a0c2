"""The box in the header: what it finds, and that it never leads nowhere."""

import pytest
from fastapi.testclient import TestClient

from keyscope.app.pages.keys.find import candidates
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.contract.keys import KeyId

ADA = {"X-Keyscope-Person": "Ada"}
WORDS = Vocabulary(
    [Token(number, text) for number, text in enumerate((b"np", b" np", b".", b"n", b" except", b" no", b"pe", b"NP"))]
)


def found(client: TestClient, typed: str, **more: str) -> dict[str, list[str]]:
    """The titles found, by kind."""
    page = client.get("/find", params={"q": typed, "run": "alpha", **more})
    assert page.status_code == 200
    return {group.title: [hit.title for hit in group.hits] for group in page.context["groups"]}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("np", ["np", " np", "NP"]),
        ("·np", [" np", "np", "NP"]),
        ("except", [" except"]),
        ("np.", [" np", ".", "np"]),
        ("nope", [" no", "pe"]),
        ("\u00e9", []),
    ],
)
def test_a_text_may_mean_these_tokens(typed: str, meant: list[str]) -> None:
    texts = [token.text for token in candidates(WORDS, typed)]
    assert texts[: len(meant)] == meant


def test_tokens_are_offered_with_the_number_of_their_keys_and_the_first_of_them(reader: TestClient) -> None:
    page = reader.get("/find", params={"q": "values", "run": "alpha"})
    [tokens] = [group for group in page.context["groups"] if group.title == "Tokens"]
    found = {hit.title: hit for hit in tokens.hits}
    assert found["·values"].href == "/runs/alpha/search?q=+values"
    total = reader.get("/api/v1/runs/alpha/search", params={"q": " values"}).json()["total"]
    assert found["·values"].about == f"{total} keys fire on it or promote it"
    assert page.context["keys_title"] == "values", "the text as typed goes first"
    assert page.context["keys"]


@pytest.mark.parametrize("typed", ["return self", " return self", "\u00b7return self "])
def test_several_tokens_find_the_keys_that_fire_within_them(reader: TestClient, typed: str) -> None:
    page = reader.get("/find", params={"q": typed, "run": "alpha"})
    row, hits = page.context["row"], page.context["row_keys"]
    assert hits
    assert [hit.measures["in_a_row"] for hit in hits] == sorted(dict(row.keys).values(), reverse=True)[: len(hits)]
    assert set(dict(row.keys)) == {KeyId.parse(key) for key in found_by(reader, page.context["row_href"])}


def found_by(client: TestClient, href: str) -> list[str]:
    """The keys that the search of an address finds."""
    answer = client.get(f"/api/v1{href}")
    return [each["key"] for each in answer.json()["keys"]]


def test_tokens_that_no_trigger_has_in_a_row_are_offered_one_by_one(reader: TestClient) -> None:
    page = reader.get("/find", params={"q": "values self", "run": "alpha"})
    assert not page.context["row_keys"]
    assert "No trigger is within" in page.text
    [tokens] = [group for group in page.context["groups"] if group.title == "Tokens"]
    assert {"values", "self"} <= {hit.title.strip("\u00b7") for hit in tokens.hits}


def test_concepts_are_found_by_their_title(reader: TestClient) -> None:
    assert "Error handling" in found(reader, "error hand")["Concepts"]


def test_labels_are_found_by_their_words_and_tags_and_lists_by_their_name(client: TestClient) -> None:
    said = {"kind": "semantic", "description": "opens 100 % of files", "tags": ["caf\u00e9"]}
    client.put("/api/v1/runs/alpha/keys/L0.K1/labels", json=said, headers=ADA)
    client.post("/api/v1/runs/alpha/lists", json={"name": "Files I like", "shared": True, "keys": []}, headers=ADA)
    assert found(client, "OPENS")["Labels"] == ["L0.K1"]
    assert found(client, "0 %")["Labels"] == ["L0.K1"]
    assert found(client, "caf\u00e9")["Labels"] == ["L0.K1"]
    assert "Labels" not in found(client, "opens_100"), "a wildcard is a character like others"
    assert found(client, "files i")["Lists"] == ["Files I like"]
    client.delete("/api/v1/runs/alpha/keys/L0.K1/labels", headers=ADA)
    assert "Labels" not in found(client, "opens")


def test_decisions_are_found_by_their_words(client: TestClient) -> None:
    decided = {"kind": "mixed", "description": "braces, whatever they hold", "seen": 0}
    client.post("/api/v1/runs/alpha/keys/L1.K2/adjudications", json=decided, headers=ADA)
    page = client.get("/find", params={"q": "braces", "run": "alpha"})
    [labels] = [group for group in page.context["groups"] if group.title == "Labels"]
    assert [(hit.title, hit.about) for hit in labels.hits] == [
        ("L1.K2", "mixed decided by Ada: braces, whatever they hold")
    ]


def test_runs_are_found_by_name_and_model(reader: TestClient) -> None:
    assert found(reader, "gate")["Runs"] == ["gated"]


@pytest.mark.parametrize("typed", ["", "   ", "nosuchtoken", "L1.K99", "L7", "x" * 5000, "\0", "%", "\\xff"])
def test_whatever_is_typed_is_answered_by_a_page(reader: TestClient, typed: str) -> None:
    for address in ("/find?run=alpha", "/find"):
        page = reader.get(address, params={"q": typed})
        assert page.status_code == 200
    if typed.startswith("L"):
        assert "alpha has no" in reader.get("/find", params={"q": typed, "run": "alpha"}).text


def test_without_a_run_the_newest_is_searched(reader: TestClient) -> None:
    newest = reader.app.state.registry.newest().run_id
    answer = reader.get("/find?q=L0.K0", follow_redirects=False)
    assert answer.headers["location"] == f"/runs/{newest}/keys/L0.K0"
