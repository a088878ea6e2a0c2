"""A run file older than groups, deciles and projects: what it lacks is not shown, and never as 0."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.contract.old_runs import OLD_RUNS, unpack


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("old")
    unpack(OLD_RUNS[min(OLD_RUNS)], folder).rename(folder / "old.duckdb")
    with TestClient(create_app(Settings(runs=folder, database_url=f"sqlite:///{folder}/l.sqlite"))) as client:
        yield client


def test_triggers_have_no_number_of_files(old: TestClient) -> None:
    triggers = old.get("/api/v1/runs/old/keys/L1.K3").json()["triggers"]
    assert {(trigger["files"], len(trigger["places"])) for trigger in triggers} == {(None, 0)}
    page = old.get("/runs/old/keys/L1.K3")
    assert page.status_code == 200
    assert 'class="muted also"' not in page.text
    assert "sink" not in page.context["about"]


def test_its_bands_are_shown_as_they_are(old: TestClient) -> None:
    page = old.get("/runs/old/keys/L1.K3?show=0-50")
    titles = [tab.title for tab in page.context["shows"]]
    assert "0\N{EN DASH}50" in titles
    assert "90\N{EN DASH}100" not in titles
    assert page.context["cards"]


def test_the_overview_says_nothing_of_projects_and_boilerplate(old: TestClient) -> None:
    page = old.get("/runs/old").text
    assert "projects, the largest" not in page
    assert "boilerplate," not in page
