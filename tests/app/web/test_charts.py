import re
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go
import pytest
from fastapi.testclient import TestClient

from keyscope.app.web.drawing import as_json
from tests.app.copies import app_on_copies
from tests.made.agreement import write_agreement
from tests.made.concepts import write_concepts
from tests.made.firing import write_firing
from tests.made.syntax import write_syntax
from tests.test_house import ROOT

PAGES = ["/runs/alpha/agreement", "/runs/alpha/firing", "/runs/alpha/syntax", "/runs/alpha/concepts/loops", "/labels"]


@pytest.fixture(scope="module")
def analysed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    def write(path: Path) -> None:
        write_agreement(path, layers=2)
        write_firing(path)
        write_syntax(path)
        write_concepts(path, layers=2, keys_per_layer=6)

    with app_on_copies(runs_dir, tmp_path_factory.mktemp("analysed"), write, person="Ada") as client:
        client.put("/api/v1/runs/alpha/keys/L0.K1/labels", json={"kind": "syntactic"}).raise_for_status()
        yield client


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_a_chart_loads_no_plotly(reader: TestClient, page: str):
    text = reader.get(page).raise_for_status().text
    assert "data-figure" not in text
    assert "plotly" not in text
    assert "charts.js" not in text


@pytest.mark.parametrize("page", [*PAGES, "/runs/alpha", "/runs/alpha/layers/0"])
def test_a_page_with_a_chart_loads_plotly_and_says_that_the_chart_is_loading(analysed: TestClient, page: str):
    text = analysed.get(page).text
    assert "vendor/plotly.min.js" in text
    assert text.count('<p class="wait scripted">Loading chart …</p>') == text.count("data-figure") > 0


def test_the_bundle_of_plotly_has_exactly_the_traces_that_figures_use():
    bundled = {
        "scatter",
        *re.findall(r'"plotly\.js/(?:lib|src/traces)/(?!core)(\w+)', (ROOT / "static/vendor.mjs").read_text()),
    }
    traces = {name for name in dir(go) if hasattr(getattr(go, name), "_path_str") and "type" in getattr(go, name)()}
    used = {name for path in (ROOT / "app").rglob("*.py") for name in re.findall(r"\bgo\.(\w+)\(", path.read_text())}
    assert {name.lower() for name in used & traces} == bundled


def test_a_figure_carries_its_data_and_no_template():
    answer = as_json(go.Figure(go.Bar(x=[0], y=[1])))
    assert len(answer.body) < 200
    assert b"template" not in answer.body
