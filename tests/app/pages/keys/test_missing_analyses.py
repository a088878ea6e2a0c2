"""Searches by analyses that a run does not have: alpha and gated have none."""

import pytest
from fastapi.testclient import TestClient

NEEDS = [
    ({"detects": "self"}, "firing"),
    ({"shape": "any"}, "firing"),
    ({"weight_class": "entropy"}, "firing"),
    ({"ranges": "position_information:0.1:"}, "firing"),
    ({"role": "keyword"}, "syntax"),
    ({"concept": "numpy"}, "concepts"),
]


@pytest.mark.parametrize(("asked", "kind"), NEEDS)
def test_a_program_is_told_which_analysis_a_search_needs(reader: TestClient, asked: dict[str, str], kind: str):
    for address in ("search", "export/search"):
        answer = reader.get(f"/api/v1/runs/alpha/{address}", params=asked)
        assert (answer.status_code, answer.json()["error"]) == (409, "analysis_missing")
        assert f"needs the analysis {kind} of alpha" in answer.json()["detail"]


@pytest.mark.parametrize(("asked", "kind"), NEEDS)
def test_a_person_is_told_the_same_and_offered_to_compute_it(reader: TestClient, asked: dict[str, str], kind: str):
    page = reader.get("/runs/alpha/search", params=asked)
    assert page.status_code == 200
    assert f"This search needs {kind}, which is not computed" in page.text
    assert f'hx-get="/runs/alpha/jobs?kind={kind}"' in page.text
    assert "0 of" not in page.text


def test_several_missing_analyses_are_named_together(reader: TestClient):
    answer = reader.get("/api/v1/runs/alpha/search", params={"detects": "self", "role": "keyword", "shape": "any"})
    assert "needs the analyses firing and syntax of alpha, which are not" in answer.json()["detail"]


def test_fields_of_missing_analyses_cannot_be_filled(reader: TestClient):
    page = reader.get("/runs/alpha/search")
    assert page.context["unavailable"] == {"detects", "shape", "weight_class", "role", "concept"}
    assert '<fieldset class="criterion" disabled><legend>are in a class by weights' in page.text
    used = reader.get("/runs/alpha/search", params={"weight_class": "entropy"})
    assert '<fieldset class="criterion" ><legend>are in a class by weights' in used.text, (
        "a field in use has to go with the form"
    )
