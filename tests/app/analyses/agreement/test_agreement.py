"""Layer agreement as page, JSON, figures and files, on estimates made by a formula."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.contract.analyses.agreement import LAYER_MEASURES
from tests.app.copies import app_on_copies
from tests.made.agreement import SIZES, agreement_of, estimate, write_agreement

LAYERS = 2


@pytest.fixture(scope="module")
def computed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on copies of the runs; alpha has its agreement, gated has not."""
    folder = tmp_path_factory.mktemp("agreement")
    with app_on_copies(runs_dir, folder, lambda alpha: write_agreement(alpha, LAYERS)) as client:
        yield client


def test_the_api_has_every_layer_with_intervals_and_controls(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/alpha/agreement").json()
    assert answer["ok"] is True
    assert [layer["layer"] for layer in answer["layers"]] == [0, 1]
    for layer in answer["layers"]:
        for measure in ("residual", "ff", "value"):
            assert layer[measure] == pytest.approx(agreement_of(layer["layer"], LAYERS, measure))
        assert set(layer["measures"]) == set(LAYER_MEASURES)
        value, low, high, n, files, projects = estimate(agreement_of(layer["layer"], LAYERS, "ff"))
        assert layer["measures"]["ff"] == pytest.approx(
            {"value": value, "low": low, "high": high, "n": n, "files": files, "projects": projects, "few": False}
            | {"twin": None, "excess": None}
        )
        chance = layer["controls"]["other_position"]["residual"]["value"]
        assert chance == pytest.approx(agreement_of(layer["layer"], LAYERS, "residual", "other_position"))
        assert layer["keys"]["agreement"]["value"] == pytest.approx(0.05)
        assert set(layer["keys_permuted"]) == {"agreement", "rank"}


def test_the_api_has_every_size_of_context(computed: TestClient) -> None:
    contexts = computed.get("/api/v1/runs/alpha/agreement").json()["contexts"]
    assert [context["size"] for context in contexts] == list(SIZES)
    for context in contexts:
        assert [layer["layer"] for layer in context["layers"]] == [0, 1]
        assert context["layers"][0]["residual"] == pytest.approx(context["size"] / 10)
        assert set(context["measures"]) == {"same_as_full", "correct", "depth", "log_frequency"}


def test_an_agreement_that_is_not_computed_is_said_to_be_missing(computed: TestClient) -> None:
    for address in ("/api/v1/runs/gated/agreement", "/api/v1/runs/gated/export/analyses/agreement"):
        answer = computed.get(address)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_computed")
        assert "keyscope analyse gated.duckdb agreement" in answer.json()["detail"]
    page = computed.get("/runs/gated/agreement")
    assert page.status_code == 200
    assert "Not computed yet" in page.text
    assert "gated.duckdb agreement" in page.text
    assert (page.context["blocks"], page.context["findings"]) == ([], [])


def test_the_page_shows_the_numbers_with_their_intervals(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/agreement")
    (block,) = (block for block in page.context["blocks"] if block.name == "agreement")
    assert [row.head for row in block.rows] == ["layer 0", "layer 1"]
    first = block.rows[0].cells[0]
    assert (first.text.replace("\N{NARROW NO-BREAK SPACE}", " "), first.interval.count("%")) == ("50 %", 2)
    assert [cell.text for cell in block.rows[0].cells[-2:]] == ["400", "4"]
    assert {len(row.cells) + 1 for row in block.rows} == {len(block.head)}
    for block in page.context["blocks"]:
        assert block.rows, block.name
        assert {len(row.cells) + 1 for row in block.rows} == {len(block.head)}, block.name
    assert "at 3 times the cost of one bare forward pass" in page.text


def test_what_the_literature_says_stands_beside_what_was_measured(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/agreement")
    assert len(page.context["findings"]) > 5
    for finding in page.context["findings"]:
        assert str(finding.measured.verdict) in page.text


def test_parts_of_splits_are_named_for_people_and_positions_in_order(computed: TestClient) -> None:
    (block,) = (b for b in computed.get("/runs/alpha/agreement").context["blocks"] if b.name == "tokens")
    heads = [row.head for row in block.rows]
    assert "identifier, defined" in heads
    assert heads[-5:] == [
        "0 to 3 tokens before it",
        "4 to 15 tokens before it",
        "16 to 63 tokens before it",
        "64 to 255 tokens before it",
        "256 or more tokens before it",
    ]


def test_every_figure_is_drawn_from_the_tables(computed: TestClient) -> None:
    page = computed.get("/runs/alpha/agreement")
    addresses = re.findall(r'data-figure="([^"]+)"', page.text)
    assert len(addresses) == len(set(addresses)) == 16
    for address in addresses:
        answer = computed.get(address).json()
        assert answer["data"]
        for trace in answer["data"]:
            assert len(trace["x"]) == len(trace["y"]) > 0
            said = trace.get("hovertext") or trace["text"]
            assert all("400" in each for each in said)
            assert "error_y" in trace or "error_x" in trace


def test_the_curves_are_those_of_the_layers_and_chance_is_dotted(computed: TestClient) -> None:
    traces = computed.get("/runs/alpha/agreement/figures/by_layer").json()["data"]
    assert [trace.get("line", {}).get("dash") for trace in traces] == [None, None, None, "dot", "dot"]
    assert traces[0]["y"] == pytest.approx([agreement_of(layer, LAYERS, "residual") for layer in range(LAYERS)])
    assert traces[0]["error_y"]["arrayminus"] == pytest.approx([0.05, 0.1])


def test_an_unknown_figure_is_refused(computed: TestClient) -> None:
    assert computed.get("/runs/alpha/agreement/figures/nonsense").status_code == 422


def test_tables_are_exported_whole(computed: TestClient) -> None:
    answer = computed.get("/api/v1/runs/alpha/export/analyses/agreement_contexts?format=csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len(SIZES) * (2 * LAYERS + 4)
    assert rows[0]["size"] == "2"
    assert list(rows[0]) == ["size", "measure", "layer", "estimate", "low", "high", "n", "files", "projects"]
    parquet = computed.get("/api/v1/runs/alpha/export/analyses/agreement?format=parquet")
    assert parquet.content.startswith(b"PAR1")
    unknown = computed.get("/api/v1/runs/alpha/export/analyses/keys")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "unknown_table")
    assert "agreement_keys" in unknown.json()["detail"]


def test_the_navigation_of_a_run_leads_to_it_and_to_the_pages_about_a_text(computed: TestClient) -> None:
    groups = computed.get("/runs/alpha").context["frame"].links.navigation("alpha")
    hrefs = {each.title: each.href for group in groups for each in group.entries}
    assert hrefs["prediction by layer"] == "/runs/alpha/agreement"
    assert (hrefs["lens"], hrefs["my code"]) == ("/lens?run=alpha", "/activations?run=alpha")
