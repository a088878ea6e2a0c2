"""Whatever lies in the folder of the runs, every page answers and lists it."""

import os
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import duckdb
import httpx
import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.texts import legible
from tests.made.hostile import OF_A_RUN, spoil
from tests.serving import serving

ODD_NAMES = ("a#b", "a?b", "%2e%2e", "a b&c=d;e", "日本", "%")
"""Names that an address can have, but only if it is encoded."""
FAULTS = ("unknown-field", "empty-object", "null", "endless", "view", "many-layers")


@pytest.fixture(scope="module")
def folder(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run alpha among files that are none, and under odd names."""
    folder = tmp_path_factory.mktemp("hostile")
    alpha = Path(shutil.copy(runs_dir / "alpha.duckdb", folder))
    for fault in FAULTS:
        spoil(Path(shutil.copy(alpha, folder / f"{fault}.duckdb")), OF_A_RUN[fault])
    for name in (b".duckdb", b"..duckdb", b"...duckdb", b"caf\xe9.duckdb"):
        shutil.copy(alpha, folder / os.fsdecode(name))
    (folder / "empty.duckdb").touch()
    spoil(Path(shutil.copy(alpha, folder / "reordered.duckdb")), _reorder)
    return folder


def _reorder(connection: duckdb.DuckDBPyConnection) -> None:
    """Put marks of direction into paths, sources and a common token."""
    connection.execute("UPDATE files SET path = chr(8238) || path || chr(155), source = chr(8294) || source")
    connection.execute("UPDATE tokens SET bytes = encode(chr(8238) || '(') WHERE bytes = encode('(')")


@pytest.fixture(scope="module")
def among_hostile(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(runs=folder)), headers={"X-Keyscope-Person": "ada"}) as client:
        yield client


def test_every_page_answers_whatever_lies_beside_a_run(among_hostile: TestClient):
    paths = {
        route.path
        for route in iter_route_contexts(among_hostile.app.routes)
        if "GET" in (route.methods or ()) and "{" not in route.path
    }
    assert {"/", "/live", "/labels", "/lists", "/api/v1/runs"} <= paths
    failed = {path: status for path in paths if (status := among_hostile.get(path).status_code) >= 500}
    assert failed == {}
    for path in ("/", "/live", "/labels", "/lists", "/api/v1/runs", "/runs/alpha", "/runs/alpha/keys/L0.K0"):
        assert among_hostile.get(path).status_code == 200


def test_what_is_no_run_is_listed_with_the_reason(among_hostile: TestClient):
    unreadable = {each["run_id"]: each["reason"] for each in among_hostile.get("/api/v1/runs").json()["unreadable"]}
    assert unreadable.keys() == {*FAULTS, "empty", ".duckdb", "..duckdb", "...duckdb", r"caf\udce9.duckdb"}
    page = among_hostile.get("/").text
    for name, reason in unreadable.items():
        assert name in page
        assert reason
    assert "contains the view manifest" in unreadable["endless"]
    assert among_hostile.get("/runs/endless").status_code == 409


def test_no_page_of_a_run_passes_hidden_characters_on(among_hostile: TestClient):
    of_run = "/runs/reordered"
    tried = f"{of_run}/concepts?language=python&kind=regex&pattern=def"
    seen = ""
    for path in (
        of_run,
        f"{of_run}/layers/0",
        f"{of_run}/layers/1",
        f"{of_run}/keys/L0.K0",
        f"{of_run}/keys/L1.K3",
        tried,
    ):
        page = among_hostile.get(path)
        assert page.status_code == 200
        assert legible(page.text) == page.text
        seen += page.text
    assert r"\u202eramp.py\x9b:" in seen
    assert '<span class="esc">' in seen


def test_links_to_runs_of_any_name_lead_to_them(runs_dir: Path, tmp_path: Path):
    for name in ODD_NAMES:
        shutil.copy(runs_dir / "alpha.duckdb", tmp_path / f"{name}.duckdb")
    # over HTTP, because Starlette's test client decodes paths twice
    with serving(create_app(Settings(runs=tmp_path))) as url, httpx.Client(base_url=url) as client:
        links = re.findall(r'<a class="mono" href="([^"]*)"', client.get("/").text)
        assert len(links) == len(ODD_NAMES)
        for link in map(unescape, links):
            page = client.get(link)
            assert page.status_code == 200, link
            layer = re.search(r'href="([^"]*/layers/1[^"]*)"', page.text)
            assert layer
            assert client.get(unescape(layer[1])).status_code == 200, layer[1]
