"""The registry: a kind of analysis that is added to it appears wherever kinds do."""

import re
import shutil
from collections.abc import Iterator
from importlib import reload
from pathlib import Path

import duckdb
import plotly.graph_objects as go
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from jinja2 import ChoiceLoader, DictLoader
from typer.testing import CliRunner

from keyscope.app import main
from keyscope.app.analyses import kinds
from keyscope.app.analyses.claim import Claim, Cursor, Measured, Verdict
from keyscope.app.analyses.kind import AnalysisKind, KeyPart
from keyscope.app.analyses.page import analysis_router
from keyscope.app.database.engine import Database
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.app.runs import Run
from keyscope.app.settings import Settings
from keyscope.app.web import render
from keyscope.app.web.dependencies import OpenRun
from keyscope.app.web.drawing import curve
from keyscope.app.web.sections import Block, Figure, layer_table, measured
from keyscope.cli import main as command_line
from keyscope.cli import runs
from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest
from keyscope.contract.tables import Column, Table
from tests.made.agreement import analysis_manifest

TOYS = Table("toys", (Column("layer", "USMALLINT"), Column("value", "DOUBLE")), ("layer",))


def _measure(cursor: Cursor, manifest: Manifest) -> Measured | None:
    return Measured(f"{manifest.model.n_layers} layers of toys", Verdict.EXPECTED)


def _sections(run: Run, cursor: Cursor, database: Database) -> Iterator[Block]:
    found = {layer: Estimate(value) for layer, value in rows(cursor, "SELECT layer, value FROM toys ORDER BY layer")}
    figure = Figure("toys", "Toys by layer", lambda: go.Figure(curve("toys", found, ".1f")))
    yield layer_table("toys", "Toys", "What toys do.", [measured("toys", "", found, str)], [figure], "toys")


def _of_key(run: Run, cursor: Cursor, key: KeyId) -> object:
    return f"toy of {key}"


CLAIM = Claim(99, "Toys", "Toys are in all layers", "Expected: always.", "toy", "toy_page", _measure)
endpoints = APIRouter(tags=["analyses"])


@endpoints.get("/runs/{run}/toy")
def show_toys(run: OpenRun) -> dict[str, str]:
    """Toys of a run."""
    return {"toys": run.run_id}


TOY = AnalysisKind(
    name="toy",
    title="toys",
    home="toy_page",
    pages=(analysis_router("toy", "Toys", "analyses/firing.html", (CLAIM,), _sections),),
    endpoints=endpoints,
    claims=(CLAIM,),
    key_part=KeyPart("analyses/_key_toy.html", _of_key),
)


@pytest.fixture
def toys(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client on a run with toys, the toy kind being one line more in each registry."""
    monkeypatch.setitem(KINDS, "toy", (TOYS,))  # type: ignore[arg-type]
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, TOY))
    monkeypatch.setattr(main, "ROUTES", main.routes())
    templates = render.templates.env
    drawn = DictLoader({"analyses/_key_toy.html": '<p id="toy">{{ found }}</p>'})
    monkeypatch.setattr(templates, "loader", ChoiceLoader([drawn, templates.loader]))
    shutil.copytree(runs_dir, tmp_path / "runs")
    run = tmp_path / "runs" / "alpha.duckdb"
    with publish_analysis(run, "toy") as connection:
        _write(connection, run)
    with TestClient(
        main.create_app(Settings(runs=run.parent, database_url=f"sqlite:///{tmp_path}/labels.sqlite"))
    ) as made:
        yield made


def _write(connection: duckdb.DuckDBPyConnection, run: Path) -> None:
    connection.execute("INSERT INTO toys VALUES (0, 1.5), (1, 2.5)")
    write_analysis_manifest(connection, analysis_manifest(run, "toy"))


def test_a_kind_is_in_the_navigation_and_has_its_page_with_figures(toys: TestClient) -> None:
    assert re.search(r'href="/runs/alpha/toy"\s*>toys</a>', toys.get("/runs/alpha").text)
    page = toys.get("/runs/alpha/toy").text
    assert "What toys do." in page
    assert 'aria-current="page">toys</a>' in page
    assert 'data-figure="/runs/alpha/toy/figures/toys"' in page
    assert toys.get("/runs/alpha/toy/figures/toys").json()["data"][0]["y"] == [1.5, 2.5]
    unknown = toys.get("/runs/alpha/toy/figures/dolls")
    assert unknown.status_code == 422
    assert "it has toys" in unknown.text


def test_a_kind_has_its_endpoints_and_its_tables_as_files(toys: TestClient) -> None:
    assert toys.get("/api/v1/runs/alpha/toy").json() == {"toys": "alpha"}
    assert toys.get("/api/v1/runs/alpha/export/analyses/toys").text.split() == ["layer,value", "0,1.5", "1,2.5"]


def test_a_kinds_claims_are_among_the_findings(toys: TestClient) -> None:
    assert "2 layers of toys" in toys.get("/runs/alpha/findings").text
    assert toys.get("/api/v1/runs/alpha/findings").json()["findings"][-1]["title"] == "Toys"


def test_a_kind_has_its_part_of_a_keys_page(toys: TestClient) -> None:
    assert '<p id="toy">toy of L1.K2</p>' in toys.get("/runs/alpha/keys/L1.K2").text


def test_the_command_line_names_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", (TOYS,))  # type: ignore[arg-type]
    try:
        reload(runs)
        shown = CliRunner().invoke(reload(command_line).cli, ["analyse", "--help"], env={"COLUMNS": "200"}).output
    finally:
        monkeypatch.undo()
        reload(runs)
        reload(command_line)
    assert "toy" in shown
    assert all(kind in shown for kind in KINDS)


def test_every_kind_of_the_contract_is_registered_once() -> None:
    assert sorted(kind.name for kind in kinds.KINDS) == sorted(KINDS)
