"""Concepts as JSON: defined with one pattern or several, listed, and shown with keys, layers and controls."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.contract.concepts import define
from tests.app.analyses.concepts.conftest import KEYS, LAYERS
from tests.made.concepts import score, write_concepts

ADDRESS = "/api/v1/runs/alpha/concepts"
N = LAYERS * KEYS


def test_all_concepts_are_listed_with_whether_their_keys_are_known(computed: TestClient) -> None:
    answer = computed.get(ADDRESS).json()
    assert answer["ok"] is True
    assert {each["name"] for each in answer["concepts"] if each["computed"]} == {"loops", "numpy"}
    assert len(answer["concepts"]) == 12
    assert not any(each["computed"] for each in computed.get("/api/v1/runs/gated/concepts").json()["concepts"])


def test_a_concept_comes_with_its_keys_the_surest_first(computed: TestClient) -> None:
    answer = computed.get(f"{ADDRESS}/loops", params={"limit": 3}).json()
    assert [key["key"] for key in answer["keys"]] == ["L1.K5", "L1.K4", "L1.K3"]
    first = score(N - 1, N)
    assert answer["keys"][0]["scores"] == pytest.approx(first | {"twin_q": None})
    for name in ("precision", "recall", "lift", "auroc", "p", "q"):
        assert answer["keys"][0][name] == pytest.approx(first[name])
    assert [each["layer"] for each in answer["by_layer"]] == [0, 1]
    assert [each["significant"] for each in answer["by_layer"]] == [1, 2]
    assert [each["control"]["significant"] for each in answer["by_layer"]] == [0, 0]
    assert answer["by_layer"][0]["auroc"] == {"70": 1, "80": 1, "90": 1}
    assert (answer["summary"]["significant"], answer["summary"]["expected"]) == (3, 5.0)
    assert [each["language"] for each in answer["languages"]] == ["go", "java", "python"]
    assert answer["edits"] == []


def test_keys_are_sorted_by_any_score_and_paged(computed: TestClient) -> None:
    def keys(**query: object) -> list[str]:
        return [key["key"] for key in computed.get(f"{ADDRESS}/loops", params=query).json()["keys"]]

    assert keys(sort="causal", limit=2) == ["L0.K0", "L0.K1"]
    assert keys(sort="rank_fdr", limit=2, offset=1) == ["L1.K4", "L1.K3"]
    assert keys(sort="auroc", order="asc", limit=1) == ["L0.K0"]
    assert keys(sort="rank_any_hit")[-1] == "L0.K0"
    refused = computed.get(f"{ADDRESS}/loops", params={"sort": "layer; DROP"})
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_parameter")


def test_what_is_not_computed_is_empty(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/gated/concepts/loops").json()
    assert (answer["concept"]["computed"], answer["summary"]) == (False, None)
    assert answer["keys"] == answer["by_layer"] == answer["languages"] == answer["edits"] == []


def test_a_concept_is_defined_by_one_pattern_or_by_several(concepts: TestClient) -> None:
    one = concepts.post(ADDRESS, json={"name": "self", "language": "python", "identifiers": ["self", "cls"]})
    assert one.status_code == 201
    assert one.json()["concept"]["patterns"]["python"]["identifiers"] == ["self", "cls"]
    assert (one.json()["concept"]["version"], one.json()["concept"]["person"]) == (1, "Ada")
    patterns = {"python": {"regex": "a+"}, "go": {"query": "(identifier) @x"}}
    both = concepts.post(ADDRESS, json={"name": "both", "title": "Both", "patterns": patterns})
    assert both.json()["concept"]["title"] == "Both"
    assert concepts.get(f"{ADDRESS}/both").json()["concept"]["patterns"]["go"]["query"] == "(identifier) @x"
    names = [each["name"] for each in concepts.get("/api/v1/runs/gated/concepts").json()["concepts"]]
    assert names[-2:] == ["both", "self"]


@pytest.mark.parametrize(
    ("body", "status", "error", "said"),
    [
        ({"name": "x", "language": "python", "regex": r"(a)\1"}, 422, "invalid_concept", "backreferences"),
        ({"name": "x", "language": "python", "regex": "(?=a)"}, 422, "invalid_concept", "lookahead"),
        ({"name": "X!", "language": "python", "regex": "a"}, 422, "invalid_concept", "'X!' is not a name"),
        ({"name": "x"}, 422, "invalid_concept", "give patterns for 1 to 16"),
        ({"name": "x", "regex": "a"}, 422, "invalid_request", "a pattern and its language"),
        ({"name": "x", "language": "python"}, 422, "invalid_request", "a pattern and its language"),
        ({"name": "x", "language": "python", "regex": "a", "query": "(b)"}, 422, "invalid_concept", "regex and query"),
        ({"name": "x", "language": "python", "query": "(a) @\ud800"}, 422, "invalid_concept", "U+D800 is half"),
        ({"name": "loops", "language": "python", "regex": "a"}, 409, "name_taken", "comes with Keyscope"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    computed: TestClient, body: dict[str, object], status: int, error: str, said: str
) -> None:
    answer = computed.post(ADDRESS, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert said in answer.json()["detail"]


def test_a_change_says_which_version_it_is_based_on(concepts: TestClient) -> None:
    body = {"name": "mine", "language": "python", "regex": "a+"}
    concepts.post(ADDRESS, json=body)
    assert concepts.post(ADDRESS, json=body | {"regex": "b+"}).json()["error"] == "name_taken"
    assert concepts.post(ADDRESS, json=body | {"regex": "b+", "based_on": 1}).json()["concept"]["version"] == 2
    assert concepts.post(ADDRESS, json=body | {"regex": "c+", "based_on": 1}).json()["error"] == "concept_changed"


def test_defining_takes_a_name(computed: TestClient) -> None:
    body = {"name": "nobodys", "language": "python", "regex": "a+"}
    name = computed.headers.pop("X-Keyscope-Person")
    answer = computed.post(ADDRESS, json=body)
    computed.headers["X-Keyscope-Person"] = name
    assert (answer.status_code, answer.json()["error"]) == (422, "name_needed")
    assert computed.get(f"{ADDRESS}/nobodys").status_code == 404


def test_results_belong_to_the_definition_they_were_computed_for(concepts: TestClient, tmp_path: Path) -> None:
    body = {"name": "mine", "title": "Mine", "language": "python", "regex": "a+"}
    concepts.post(ADDRESS, json=body)
    mine = define({"name": "mine", "title": "Mine", "patterns": {"python": {"regex": "a+"}}})
    write_concepts(tmp_path / "runs" / "alpha.duckdb", LAYERS, KEYS, (mine,), mine.part)
    assert concepts.get(f"{ADDRESS}/mine").json()["summary"]["significant"] == 3
    assert concepts.get(f"{ADDRESS}/loops").json()["summary"]["significant"] == 3
    concepts.post(ADDRESS, json=body | {"regex": "b+", "based_on": 1})
    assert concepts.get(f"{ADDRESS}/mine").json()["summary"] is None


def test_a_concept_that_only_an_analysis_knows_of_is_shown(concepts: TestClient, tmp_path: Path) -> None:
    theirs = define({"name": "theirs", "title": "Theirs", "patterns": {"python": {"regex": "a+"}}})
    write_concepts(tmp_path / "runs" / "alpha.duckdb", LAYERS, KEYS, (theirs,), theirs.part)
    assert concepts.get(f"{ADDRESS}/theirs").json()["summary"]["significant"] == 3
    assert concepts.get("/runs/alpha/concepts/theirs").status_code == 200
