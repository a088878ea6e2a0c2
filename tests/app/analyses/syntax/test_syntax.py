"""Syntax as page, JSON, figures, sections of keys and files, on numbers made by a formula."""

import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from fastapi.testclient import TestClient

from keyscope.app.queries.syntax import layer_measures, scores, scores_by_layer
from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.analyses.syntax import ASPECTS, LAYER_MEASURES, ROLES
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import open_run
from tests.app.copies import app_on_copies
from tests.made.syntax import (
    KEY_DISTINCT_Q,
    KEY_Q,
    NO_CONTROL,
    SHARE_BASE,
    TOP_SHARE,
    key_score,
    layer_mean,
    write_syntax,
)


@pytest.fixture(scope="module")
def computed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on copies of the runs; alpha has its syntax, gated has not."""
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("syntax"), write_syntax) as client:
        yield client


@pytest.fixture
def runs(computed: TestClient) -> Path:
    """The copies."""
    folder: Path = computed.app.state.settings.runs
    return folder


def test_the_api_has_every_measure_of_every_layer_with_intervals_and_controls(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/alpha/syntax").json()
    assert answer["ok"] is True
    assert set(answer["help"]) == set(LAYER_MEASURES)
    assert [layer["layer"] for layer in answer["layers"]] == [0, 1]
    for layer in answer["layers"]:
        assert layer["score"] == pytest.approx(layer_mean("score", layer["layer"]))
        assert set(layer["measures"]) == set(LAYER_MEASURES)
        for name, found in layer["measures"].items():
            assert found["value"] == pytest.approx(layer_mean(name, layer["layer"]))
            assert found["low"] < found["value"] < found["high"]
            assert (found["control"] is None) == (name in NO_CONTROL)
        assert list(layer["roles"]) == sorted(ROLES)
        assert layer["roles"]["keyword"]["lift"] == pytest.approx(layer["layer"] + 1)
    assert answer["trends"]["score"]["value"] == pytest.approx(0.3)


def test_the_api_has_the_profile_of_a_key(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/alpha/keys/L1.K2/syntax").json()
    assert answer["stats"]["score"] == pytest.approx(key_score(2))
    assert list(answer["profile"]) == sorted(ASPECTS)
    commonest = answer["profile"]["role"][0]
    assert commonest.pop("value") == ROLES[2]
    assert commonest == pytest.approx(
        {
            "triggers": 6,
            "share": TOP_SHARE,
            "base": SHARE_BASE,
            "lift": TOP_SHARE / SHARE_BASE,
            "sample_share": 0.6,
            "q": KEY_Q,
            "distinct_q": KEY_DISTINCT_Q,
        },
        rel=1e-5,
    )
    assert answer["profile"]["role"][1]["q"] is None


@pytest.mark.parametrize("path", ["syntax", "keys/L0.K0/syntax"])
def test_syntax_that_is_not_computed_is_said_to_be_missing(computed: TestClient, path: str) -> None:
    answer = computed.get(f"/api/v1/runs/gated/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_computed"
    page = computed.get("/runs/gated/syntax")
    assert page.status_code == 200
    assert "keyscope analyse runs/gated.duckdb syntax" in page.text


def test_the_page_shows_the_claims_and_every_section(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/syntax").text
    for text in ("we measured", "as expected", "Variety of triggers", "95 % intervals over projects"):
        assert text in page
    for section in (
        "score",
        "locality",
        "concentration",
        "roles",
        "families",
        "nodes",
        "described",
        "lowest",
        "highest",
    ):
        assert f'id="{section}"' in page
    assert "upper minus lower half" in page
    assert 'id="people"' not in page


def test_numbers_of_layers_say_what_they_rest_on(computed: TestClient) -> None:
    blocks = {block.name: block for block in computed.get("/runs/alpha/syntax").context["blocks"]}
    for name in ("score", "locality", "concentration", "families"):
        assert {len(row.cells) + 1 for row in blocks[name].rows} == {len(blocks[name].head)}
        assert [column.title for column in blocks[name].head].count("keys") == 1
        assert [row.cells[-1].text for row in blocks[name].rows] == ["6", "6", "12"]
        assert "spread over draws of files" in blocks[name].text
    # 12 triggers are an eighth, and a quarter
    assert [row.cells[-1].text for row in blocks["roles"].rows[:2]] == ["12 of 96", "12 of 48"]
    for figure in ("score", "locality", "concentration", "families"):
        for trace in computed.get(f"/runs/alpha/syntax/figures/{figure}").json()["data"]:
            if "error_y" in trace:
                assert all("95 % interval" in said and "n = 6" in said for said in trace["hovertext"])


def test_measures_of_other_keys_have_their_own_n(runs: Path, tmp_path: Path) -> None:
    def measured_on_fewer(alpha: Path) -> None:
        with duckdb.connect(str(analysis_path(alpha, "syntax"))) as connection:
            connection.execute("UPDATE syntax_layers SET keys = 5 WHERE measure = 'drop_first' AND layer = 1")

    with app_on_copies(runs, tmp_path, measured_on_fewer) as client:
        blocks = {block.name: block for block in client.get("/runs/alpha/syntax").context["blocks"]}
    locality = blocks["locality"]
    places = [number for number, column in enumerate(locality.head[1:]) if column.title == "keys"]
    assert [locality.rows[1].cells[place].text for place in places] == ["6", "5", "6"]
    assert {len(row.cells) + 1 for row in locality.rows} == {len(locality.head)}


def test_scores_stand_beside_peoples_labels(computed: TestClient) -> None:
    for key, kind in (("L0.K1", "syntactic"), ("L0.K2", "syntactic"), ("L1.K5", "semantic")):
        answer = computed.put(
            f"/api/v1/runs/alpha/keys/{key}/labels", json={"kind": kind}, headers={"X-Keyscope-Person": "Ada"}
        )
        assert answer.status_code == 200
    again = computed.put(
        "/api/v1/runs/alpha/keys/L0.K2/labels", json={"kind": "syntactic"}, headers={"X-Keyscope-Person": "Ben"}
    )
    assert again.status_code == 200
    page = computed.get("/runs/alpha/syntax").text
    assert "Compared with people&#39;s labels" in page
    people = page[page.index('id="people"') :]
    assert "in 100\N{NARROW NO-BREAK SPACE}% of pairs" in people
    (block,) = (block for block in computed.get("/runs/alpha/syntax").context["blocks"] if block.name == "people")
    for row, of_kind in zip(block.rows, ([key_score(1), key_score(2)], [key_score(5)]), strict=True):
        quartiles = [f"{score:.2f}" for score in np.quantile(of_kind, (0.25, 0.5, 0.75))]
        assert [cell.text for cell in row.cells] == [str(len(of_kind)), *quartiles]
    assert [row.head for row in block.rows] == ["syntactic", "semantic"]
    assert "export" not in people[: people.index("</section>")]


def test_every_figure_is_drawn_from_the_analysis_and_empty_without(computed: TestClient) -> None:
    addresses = re.findall(r'data-figure="([^"]+)"', computed.get("/runs/alpha/syntax").text)
    assert len(addresses) == len(set(addresses)) == 8
    for address in addresses:
        drawn = computed.get(address).json()
        assert drawn["data"]
        assert all("error_y" in trace or trace["type"] == "heatmap" or "line" in trace for trace in drawn["data"])
        assert computed.get(address.replace("alpha", "gated")).status_code == 200


def test_the_heat_map_shows_lifts_by_role_and_layer(computed: TestClient) -> None:
    (trace,) = computed.get("/runs/alpha/syntax/figures/role_lifts").json()["data"]
    assert len(trace["y"]) == len(ROLES)
    assert trace["text"][0] == ["1.0", "2.0"]
    assert trace["z"][0] == [0, 1]


def test_a_keys_page_says_what_its_triggers_have_in_common(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/keys/L1.K2").text
    section = page[page.index("Syntax of its triggers") :]
    assert "argument_list in call" in section
    assert "75\N{NARROW NO-BREAK SPACE}%" in section
    assert "beyond its tokens" in section
    assert "\N{MINUS SIGN}80\N{NARROW NO-BREAK SPACE}%" in section
    assert "Syntax of its triggers" not in computed.get("/runs/gated/keys/L1.K2").text


def test_tables_are_exported_whole(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/alpha/export/analyses/syntax_keys")
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(found) == 12
    assert float(found[2]["score"]) == pytest.approx(key_score(2))


def test_scores_are_told_by_layer_and_by_key(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    with open_run(tmp_path / "runs" / "alpha.duckdb") as connection:
        found = scores_by_layer(connection.cursor())
        assert found == pytest.approx({layer: layer_mean("score", layer) for layer in (0, 1)})
        assert layer_measures(connection.cursor())["grammar"][0].median is None
        asked = [KeyId(0, 1), KeyId(1, 4), KeyId(7, 0)]
        assert scores(connection.cursor(), asked) == pytest.approx(
            {KeyId(0, 1): key_score(1), KeyId(1, 4): key_score(4)}
        )
        assert scores(connection.cursor(), []) == {}
    with open_run(tmp_path / "runs" / "gated.duckdb") as connection:
        assert scores_by_layer(connection.cursor()) == {}


def test_the_overview_begins_with_the_papers_claim(computed: TestClient) -> None:
    figure = computed.get("/runs/alpha").context["claim_figure"]
    assert figure == "/runs/alpha/syntax/figures/score"
    assert computed.get(figure).json()["data"]
