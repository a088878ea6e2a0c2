import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.app.copies import app_on_copies
from tests.made.firing import write_firing
from tests.made.runs import Shape, build_run

OF_RUN_FILES = [
    "/api/v1/runs/alpha",
    "/api/v1/runs/alpha/layers",
    "/api/v1/runs/alpha/layers/0/keys?limit=3",
    "/api/v1/runs/alpha/findings",
    "/api/v1/runs/alpha/firing",
    "/api/v1/runs/alpha/export/layers",
    "/api/v1/runs/alpha/export/analyses/firing_layers?format=parquet",
    "/runs/alpha/figures/kurtosis",
    "/runs/alpha/layers/0/map",
    "/runs/alpha/firing/figures/tokens",
]
OF_OTHERS = [
    "/api/v1/runs",
    "/api/v1/runs/alpha/keys/L0.K1",
    "/api/v1/runs/alpha/export/search",
    "/runs/alpha",
    "/runs/alpha/firing",
]


@pytest.fixture(scope="module")
def asked(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("asked"), write_firing) as client:
        yield client


@pytest.mark.parametrize("address", OF_RUN_FILES)
def test_what_a_client_still_has_is_not_sent_again(asked: TestClient, address: str):
    first = asked.get(address)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "private, no-cache")
    again = asked.get(address, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert asked.get(address, headers={"If-None-Match": 'W/"other"'}).status_code == 200


@pytest.mark.parametrize("address", OF_OTHERS)
def test_what_shows_labels_people_or_the_list_of_runs_has_no_tag(asked: TestClient, address: str):
    answer = asked.get(address)
    assert answer.status_code == 200
    assert "ETag" not in answer.headers


def test_each_address_has_its_own_tag(asked: TestClient):
    tags = [
        asked.get(f"/api/v1/runs/alpha/layers/0/keys{query}").headers["ETag"] for query in ("", "?limit=1", "?limit=2")
    ]
    assert len(set(tags)) == 3


def test_nothing_is_read_or_drawn_for_a_client_that_has_it(asked: TestClient, monkeypatch: pytest.MonkeyPatch):
    tag = asked.get("/runs/alpha/layers/0/map").headers["ETag"]

    def read(self: object) -> None:
        raise AssertionError("the run was read")

    monkeypatch.setattr("keyscope.app.runs.Run.reading", read)
    assert asked.get("/runs/alpha/layers/0/map", headers={"If-None-Match": tag}).status_code == 304


def test_a_failure_has_no_tag(asked: TestClient):
    for address, status in (
        ("/api/v1/runs/none", 404),
        ("/api/v1/runs/alpha/layers/9/keys", 404),
        ("/runs/alpha/figures/x", 422),
    ):
        answer = asked.get(address, headers={"Accept": "application/json"})
        assert answer.status_code == status
        assert "ETag" not in answer.headers


def test_a_run_file_has_the_strong_tag_that_parts_of_it_are_asked_with(asked: TestClient):
    whole = asked.get("/api/v1/runs/alpha/file")
    assert not whole.headers["ETag"].startswith("W/")
    part = asked.get("/api/v1/runs/alpha/file", headers={"Range": "bytes=0-9", "If-Range": whole.headers["ETag"]})
    assert part.status_code == 206


def test_a_new_analysis_or_another_file_of_that_name_is_sent(runs_dir: Path, tmp_path: Path):
    address = "/api/v1/runs/alpha/findings"
    with app_on_copies(runs_dir, tmp_path) as client:
        run = tmp_path / "runs" / "alpha.duckdb"
        first = client.get(address)
        write_firing(run)
        second = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
        assert (second.status_code, second.json() == first.json()) == (200, False)
        shutil.rmtree(run.with_suffix(".analysis"))
        build_run(tmp_path / "new.duckdb", Shape(seed=3)).replace(run)
        assert client.get(address, headers={"If-None-Match": second.headers["ETag"]}).status_code == 200
