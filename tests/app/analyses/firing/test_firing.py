"""When keys fire as page, JSON, figures, key section and search criteria, on numbers made by formulas."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient

from keyscope.app.analyses.firing.key_part import HEIGHT
from keyscope.app.web import formats
from keyscope.app.web.sections import EMPTY
from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.analyses.firing import CENSUS, GROUPS, MEASURES, UNGROUPED
from keyscope.contract.keys import KeyId
from tests.app.copies import app_on_copies
from tests.made.firing import (
    BUCKETS,
    CONTROLLED,
    DETECTOR,
    WITHOUT_INTERVAL,
    group_number,
    language_f1,
    layer_number,
    position_information,
    write_firing,
)

FIGURES = {
    *("active", "detectors", "tokens", "suppression", "positions", "languages", "best_f1", "classes", "cosines"),
}


@pytest.fixture(scope="module")
def computed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on copies of the runs; alpha's firing is analysed, gated's is not."""
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("firing"), write_firing) as client:
        yield client


def test_the_api_has_every_layer_with_intervals_and_controls(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/alpha/firing").json()
    assert [layer["layer"] for layer in answer["layers"]] == [0, 1]
    for layer in answer["layers"]:
        assert set(layer["measures"]) == set(MEASURES)
        number = layer_number("active", layer["layer"])
        assert layer["measures"]["active"] == pytest.approx(
            {"value": number, "low": 0.9 * number, "high": 1.1 * number, "n": 6, "projects": 12, "few": False}
            | {"twin": None, "excess": None}
        )
        without = {measure for measure, number in layer["measures"].items() if number["low"] is None}
        assert without == set(answer["census"]) == set(CENSUS)
        for measure, control in CONTROLLED.items():
            chance = layer["controls"][control][measure]
            assert chance["value"] == pytest.approx(layer_number(measure, layer["layer"], control))
            assert (chance["low"] is None) == (control in WITHOUT_INTERVAL)
        assert set(layer["by_language"]) == {"go", "java", "python"}
        assert set(layer["by_language"]["go"]) == {"active", "language", "best_f1"}
    assert [group["layers"] for group in answer["groups"]] == list(GROUPS)
    for place, group in enumerate(answer["groups"]):
        assert set(group["measures"]) == set(MEASURES) - set(UNGROUPED)
        number = group_number("dead", place)
        assert group["measures"]["dead"] == pytest.approx(
            {"value": number, "low": 0.95 * number, "high": 1.05 * number, "n": 12, "projects": 12, "few": False}
            | {"twin": None, "excess": None}
        )
        assert answer["help"][group["layers"]] == GROUPS[group["layers"]]


def test_the_api_has_every_key(computed: TestClient) -> None:
    answer = computed.get(f"/api/v1/runs/alpha/keys/{DETECTOR}/firing").json()
    assert answer["stats"]["position_information"] == pytest.approx(position_information(0, 1))
    assert [each["language"] for each in answer["languages"]] == ["go", "java", "python"]
    assert answer["languages"][1]["f1"] == pytest.approx(language_f1(1, 1))
    assert answer["languages"][1]["fires"] is not None
    assert [len(rates) for rates in answer["positions"].values()] == [BUCKETS, BUCKETS]
    (token,) = answer["detects"]
    assert (token["occurrences"], token["fired"]) == (20, 19)
    assert computed.get("/api/v1/runs/alpha/keys/L1.K0/firing").json()["detects"] == []


def test_what_is_not_computed_is_said_to_be_missing(computed: TestClient) -> None:
    for path in ("firing", "keys/L0.K0/firing"):
        answer = computed.get(f"/api/v1/runs/gated/{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_computed")
    page = computed.get("/runs/gated/firing").text
    assert "keyscope analyse" in page
    assert "data-figure" not in page
    assert 'id="firing"' not in computed.get("/runs/gated/keys/L0.K0").text


def test_the_page_shows_claims_figures_and_tables(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/firing")
    assert "not computed" not in page.text
    assert {block.name for block in page.context["blocks"]} >= {
        "activity",
        "detectors",
        "positions",
        "languages",
        "weights",
    }
    activity = next(block for block in page.context["blocks"] if block.name == "activity")
    assert [row.head for row in activity.rows] == ["layer 0", "layer 1", *GROUPS]
    assert activity.rows[2].cells[0].text == formats.share(group_number("active", 0))
    assert [column.title for column in activity.head][:3] == ["layer", "fire", "n"]
    assert activity.rows[1].cells[0].interval
    assert activity.rows[1].cells[1].text == "6"
    assert set(re.findall(r'data-figure="/runs/alpha/firing/figures/([^"]+)"', page.text)) == FIGURES


def test_every_number_by_layer_has_its_interval_or_the_reason_for_none(computed: TestClient) -> None:
    blocks = {block.name: block for block in computed.get("/runs/alpha/firing").context["blocks"]}
    for name, block in blocks.items():
        if block.caption.endswith("by layer"):
            bare = {
                column.title
                for row in block.rows
                for column, cell in zip(block.head[1:], row.cells, strict=True)
                if cell is not EMPTY and not cell.interval and column.title not in ("n", "keys")
            }
            if name == "weights":
                assert len(bare) == len(block.head) - 2
                assert "a census" in block.text
            else:
                assert "bootstrap over projects" in block.text
                assert bare <= {"chance: files dealt anew", "best F1 by chance"}
    assert [column.title for column in blocks["suppression"].head] == [
        *("layer", "token detectors", "n", "all keys", "n", "chance: tokens of other keys", "n", "keys"),
    ]


def test_an_analysis_without_draws_says_so(runs_dir: Path, tmp_path: Path) -> None:
    def without_draws(alpha: Path) -> None:
        write_firing(alpha)
        with duckdb.connect(str(analysis_path(alpha, "firing"))) as connection:
            for table in ("firing_layers", "firing_groups"):
                connection.execute(f"UPDATE {table} SET low = NULL, high = NULL WHERE measure <> 'active'")

    with app_on_copies(runs_dir, tmp_path, without_draws) as client:
        blocks = {block.name: block for block in client.get("/runs/alpha/firing").context["blocks"]}
        assert "too few files for intervals" in blocks["positions"].text
        assert not any(cell.interval for row in blocks["positions"].rows for cell in row.cells)
        assert client.get("/runs/alpha/firing/figures/positions").status_code == 200


@pytest.mark.parametrize("figure", ["positions", "tokens", "best_f1"])
def test_a_figure_has_the_bars_of_its_intervals(computed: TestClient, figure: str) -> None:
    traces = computed.get(f"/runs/alpha/firing/figures/{figure}").json()["data"]
    drawn = [trace for trace in traces if trace.get("error_y", {}).get("array")]
    assert drawn
    assert all(low > 0 for trace in drawn for low in trace["error_y"]["arrayminus"])


@pytest.mark.parametrize("figure", sorted(FIGURES))
def test_every_figure_has_every_layer(computed: TestClient, figure: str) -> None:
    answer = computed.get(f"/runs/alpha/firing/figures/{figure}")
    assert answer.status_code == 200
    traces = answer.json()["data"]
    assert traces
    assert all(trace["x"] == [0, 1] for trace in traces)


def test_keys_that_stand_out_lead_to_their_pages(computed: TestClient) -> None:
    blocks = {block.name: block for block in computed.get("/runs/alpha/firing").context["blocks"]}
    assert [row.head for row in blocks["detecting-keys"].rows] == [DETECTOR]
    assert blocks["positional-keys"].rows[0].head == "L1.K5"
    assert {row.cells[0].text for row in blocks["telling-keys"].rows} == {"Go", "Java", "Python"}
    assert computed.get(f"/runs/alpha/keys/{blocks['detecting-keys'].rows[0].key}").status_code == 200


def test_a_keys_page_says_when_it_fires(computed: TestClient) -> None:
    page = computed.get(f"/runs/alpha/keys/{DETECTOR}")
    (firing,) = (part.found for part in page.context["parts"])
    assert [each.fired for each in firing.tokens] == [19]
    assert firing.marks == []
    assert [bar.height for bar in firing.positions[0][1]] == [
        0,
        *(round(HEIGHT * bucket / 3, 2) for bucket in (1, 2, 3)),
    ]
    (marked,) = (part.found for part in computed.get("/runs/alpha/keys/L1.K3").context["parts"])
    assert [mark for mark, _ in marked.marks] == ["positional: oscillatory", "suppression key"]
    (specific,) = (part.found for part in computed.get("/runs/alpha/keys/L0.K2").context["parts"])
    assert [mark for mark, _ in specific.marks] == ["specific to Go"]


def test_a_search_takes_ranges_of_the_analysis_and_shows_them(computed: TestClient) -> None:
    found = computed.get("/api/v1/runs/alpha/search", params={"ranges": "position_information:0.1:"}).json()
    assert [each["key"] for each in found["keys"]] == [f"L1.K{index}" for index in (5, 4, 3, 2, 1, 0)]
    assert found["keys"][0]["measures"]["position_information"] == pytest.approx(0.15)
    page = computed.get("/runs/alpha/search", params={"ranges": "position_information:0.1:"})
    assert page.context["columns"][0].title == "position information"
    both = {"ranges": "position_information:0.1:,position_information::0.2"}
    assert computed.get("/api/v1/runs/alpha/search", params=both).status_code == 422


def test_a_search_finds_the_keys_that_detect_a_token(computed: TestClient) -> None:
    (token,) = computed.get(f"/api/v1/runs/alpha/keys/{DETECTOR}/firing").json()["detects"]
    found = computed.get(
        "/api/v1/runs/alpha/search", params={"detects": token["token"], "fires_on": token["token"]}
    ).json()
    assert [(each["key"], each["measures"]["detected"]) for each in found["keys"]] == [(DETECTOR, 19)]


@pytest.mark.parametrize("shape", ["oscillatory", "any", "both ends"])
def test_a_search_finds_the_keys_that_fire_more_in_some_part_of_the_window(computed: TestClient, shape: str) -> None:
    found = computed.get("/api/v1/runs/alpha/search", params={"shape": shape}).json()
    positional = [
        KeyId(layer, index)
        for layer in (1, 0)
        for index in range(5, -1, -1)
        if position_information(layer, index) > 0.05
    ]
    assert [each["key"] for each in found["keys"]] == ([] if shape == "both ends" else list(map(str, positional)))
    assert found["total"] < 12
    if found["keys"]:
        assert found["keys"][0]["measures"]["position_nats"] == pytest.approx(position_information(1, 5))
        page = computed.get("/runs/alpha/search", params={"shape": shape})
        assert page.context["columns"][0].title == "nats on position"
        text = computed.get("/api/v1/runs/alpha/export/search", params={"shape": shape}).text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["key"] for row in rows] == [each["key"] for each in found["keys"]]
        assert float(rows[0]["position_nats"]) == pytest.approx(position_information(1, 5))


def test_a_search_finds_keys_by_what_their_weights_say(computed: TestClient) -> None:
    found = computed.get("/api/v1/runs/alpha/search", params={"weight_class": "suppression", "sort": "index"}).json()
    assert {each["key"] for each in found["keys"]} == {"L0.K3", "L1.K3"}
    assert computed.get("/api/v1/runs/alpha/search", params={"weight_class": "entropy"}).json()["total"] == 0
    both = {"weight_class": "suppression", "shape": "oscillatory"}
    page = computed.get("/runs/alpha/search", params=both)
    assert [row.key.key for row in page.context["rows"]] == [KeyId(1, 3)]
    assert re.search(r'<option value="suppression"\s+selected>suppression keys</option>', page.text)
    assert re.search(r'<option value="oscillatory"\s+selected>oscillatory</option>', page.text)


@pytest.mark.parametrize(
    ("wanted", "choices"),
    [({"shape": "round"}, "any or one of start, end"), ({"weight_class": "heavy"}, "one of prediction, suppression")],
)
def test_a_shape_or_class_that_is_none_is_named_with_those_there_are(
    computed: TestClient, wanted: dict[str, str], choices: str
) -> None:
    answer = computed.get("/api/v1/runs/alpha/search", params=wanted)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_parameter")
    assert choices in answer.json()["detail"]
    assert computed.get("/runs/alpha/search", params=wanted).status_code == 422


def test_two_criteria_may_measure_the_same(computed: TestClient) -> None:
    parameters = {"q": "return", "fires_on": "return", "promotes": "return"}
    assert computed.get("/api/v1/runs/alpha/search", params=parameters).status_code == 200


def test_the_tables_are_exported(computed: TestClient) -> None:
    text = computed.get("/api/v1/runs/alpha/export/analyses/firing_keys").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 12
    assert float(rows[7]["position_information"]) == pytest.approx(position_information(1, 1))
