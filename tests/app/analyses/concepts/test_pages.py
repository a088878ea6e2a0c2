"""The pages of concepts: the list, the form with what its patterns match, one concept, and the way to the live page."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from keyscope.app.analyses.concepts.figures import hits_by_layer
from keyscope.app.queries.concepts import ConceptLayer
from keyscope.app.queries.estimate import Estimate
from tests.made.concepts import EXAMPLE, LOOPS

LIST = "/runs/alpha/concepts"
FORM = {"name": "mine", "language": ["python", "go"], "kind": ["regex", "identifiers"], "pattern": ["def \\w+", "a, b"]}


def test_the_list_has_every_concept_with_its_chance_and_its_control(computed: TestClient) -> None:
    page = computed.get(LIST)
    rows = {row.known.concept.name: row for row in page.context["rows"]}
    assert len(rows) == 12
    found = rows["loops"].found
    assert (found.any_hit, found.expected, found.significant, found.control_significant) == (10, 5.0, 3, 0)
    assert found.depth == pytest.approx(2 / 3)
    assert rows["http"].found is None
    assert "not computed yet" in page.text
    assert rows["goroutines"].languages == ["go"]


def test_a_run_without_the_analysis_says_how_to_compute_it(computed: TestClient) -> None:
    page = computed.get("/runs/gated/concepts")
    assert "keyscope analyse runs/gated.duckdb concepts" in page.text
    assert "keyscope analyse runs/gated.duckdb concepts" in computed.get("/runs/gated/concepts/loops").text


def test_patterns_in_the_address_are_tried_on_the_runs_windows(computed: TestClient) -> None:
    page = computed.get(LIST, params={"language": ["python", "go", "java"], "kind": ["regex", "identifiers", "query"],
                                      "pattern": [r"def \w+", "sum", "(x) @y"]})  # fmt: skip
    tried = {each.language: each for each in page.context["tried"]}
    python = tried["python"].found
    assert python.matches == 3
    assert python.windows_with <= python.windows
    assert {shown.match for shown in python.examples} <= {"def __init", "def fill", "def page", "def __init__"}
    assert tried["go"].found.matches == 3
    assert tried["java"].found is None
    assert "a query is tried when the concept is computed" in page.text


def test_hostile_text_in_matches_is_escaped(computed: TestClient) -> None:
    page = computed.get(LIST, params={"language": "python", "kind": "regex", "pattern": "<b>bold|onerror"})
    assert "&lt;b&gt;bold" in page.text
    assert "<b>bold" not in page.text


def test_a_pattern_that_cannot_be_read_is_explained_beside_the_others(computed: TestClient) -> None:
    page = computed.get(LIST, params={"language": ["python", "go"], "kind": ["regex"] * 2, "pattern": [r"\1", "func"]})
    assert page.status_code == 200
    first, second = page.context["tried"]
    assert "backreferences" in first.problem
    assert second.found.matches > 0


def test_a_concept_is_saved_by_the_form_and_then_changed(concepts: TestClient) -> None:
    saved = concepts.post(LIST, data=FORM, follow_redirects=False)
    assert (saved.status_code, saved.headers["location"]) == (303, "/runs/alpha/concepts/mine")
    page = concepts.get("/runs/alpha/concepts/mine")
    assert [(each.language, each.text) for each in page.context["patterns"]] == [("python", r"def \w+"), ("go", "a b")]
    assert "--set concept=mine" in page.text
    form = concepts.get(LIST, params={"change": "mine"}).context["form"]
    assert (form.name, form.based_on, form.pattern) == ("mine", 1, [r"def \w+", "a b"])
    changed = FORM | {"based_on": "1", "pattern": ["class \\w+", ""]}
    assert concepts.post(LIST, data=changed, follow_redirects=False).status_code == 303
    page = concepts.get("/runs/alpha/concepts/mine")
    assert [each.version for each in page.context["versions"]] == [2, 1]
    stale = concepts.post(LIST, data=changed | {"pattern": ["x", ""]})
    assert stale.status_code == 409
    assert "is now at version 2" in stale.text
    assert 'value="mine"' in stale.text


def test_a_form_that_cannot_be_saved_comes_back_with_the_reason(computed: TestClient) -> None:
    refused = computed.post(LIST, data=FORM | {"pattern": ["(", ""]})
    assert refused.status_code == 422
    assert "missing )" in refused.context["problem"]
    assert refused.context["fields"][0].text == "("
    assert "no pattern" in computed.post(LIST, data=FORM | {"pattern": ["", " "]}).context["problem"]


def test_another_concept_begins_from_a_shipped_one(computed: TestClient) -> None:
    form = computed.get(LIST, params={"copy_of": "loops"}).context["form"]
    assert (form.name, form.based_on) == ("", 0)
    assert form.pattern[0] == LOOPS.patterns["python"].text


def test_the_page_of_a_concept_has_its_keys_by_picker(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/concepts/loops", params={"n": 3})
    assert [str(row.key.key) for row in page.context["rows"]][:2] == ["L1.K5", "L1.K4"]
    assert [str(mask.key) for mask in page.context["basket"]] == ["L1.K5", "L1.K4", "L1.K3"]
    causal = computed.get("/runs/alpha/concepts/loops", params={"picker": "causal", "n": 2})
    assert [str(mask.key) for mask in causal.context["basket"]] == ["L0.K0", "L0.K1"]
    shared = {(each.one, each.other): (each.shared, each.of) for each in page.context["overlaps"]}
    assert shared["fdr", "auroc"] == (3, 3)
    assert shared["auroc", "causal"] == (0, 3)
    assert "for a shuffled copy of the concept 0 do" in page.text


def test_a_concept_without_matches_says_so(computed: TestClient) -> None:
    assert "hold no match" in computed.get("/runs/alpha/concepts/numpy").text
    assert "hold no match" not in computed.get("/runs/alpha/concepts/loops").text


@pytest.mark.parametrize("figure", ["any_hit", "detectors", "hits"])
def test_every_figure_is_drawn_by_layer(computed: TestClient, figure: str) -> None:
    drawn = computed.get(f"/runs/alpha/concepts/loops/figures/{figure}").json()
    assert all(list(trace["x"]) == [0, 1] for trace in drawn["data"])
    assert len(drawn["data"]) >= 2
    if figure == "hits":
        assert drawn["data"][0]["hovertext"] == ["95 % interval 10.0% to 30.0%; n = 50"] * 2


def test_a_share_in_too_few_files_is_drawn_without_an_interval() -> None:
    layer = ConceptLayer(
        layer=0,
        keys=6,
        any_hit=2,
        expected=Estimate(1, 0.5, 2),
        significant=1,
        above_random=2,
        auroc={80: 1},
        triggers=9,
        hit_share=Estimate(0.25, n=9),
        chance_share=Estimate(0.125, 0.1, 0.2, 9),
    )
    found, chance = json.loads(hits_by_layer([layer]).to_json())["data"]
    assert found["y"] == [0.25]
    assert "error_y" not in found
    assert found["hovertext"] == ["no interval; n = 9"]
    assert chance["error_y"]["array"] == pytest.approx([0.075])


def test_its_keys_are_masked_on_the_live_page_with_a_prompt_that_has_it(computed: TestClient) -> None:
    address = "/runs/alpha/concepts/loops/try?picker=fdr&n=2&example=0"
    answer = computed.post(address, follow_redirects=False)
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["mask"] == ["L1.K5:0,L1.K4:0"]
    assert query["prompt"] == [EXAMPLE["before"] + EXAMPLE["match"]]


def test_the_page_of_a_key_names_the_concepts_it_detects(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/keys/L1.K5")
    (part,) = (part for part in page.context["parts"] if part.template == "analyses/_key_concepts.html")
    assert [each.name for each in part.found] == ["loops", "numpy"]
    assert "/runs/alpha/concepts/loops" in page.text
    assert computed.get("/runs/alpha/keys/L0.K0").context["parts"] == []


def test_an_unknown_concept_is_a_page_that_says_what_there_is(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/concepts/nothing", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "loops" in page.text


def test_a_saved_concept_is_computed_by_a_worker_when_asked(concepts: TestClient, tmp_path: Path) -> None:
    concepts.post(LIST, data=FORM)
    refused = concepts.post(f"{LIST}/compute", data={"name": "mine"}, headers={"Accept": "text/html"})
    assert refused.status_code == 503
    assert "worker" in refused.text
