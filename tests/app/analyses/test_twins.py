"""The JSON of analyses has the twin's numbers beside the run's, and what is beyond them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient

from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.manifest import shuffled_sha256
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.contract.twin import twin_path
from tests.app.copies import app_on_copies
from tests.made.agreement import write_agreement
from tests.made.concepts import write_concepts
from tests.made.firing import write_firing
from tests.made.syntax import write_syntax

WRITERS: dict[str, Callable[[Path], object]] = {
    "syntax": write_syntax,
    "firing": write_firing,
    "agreement": lambda run: write_agreement(run, 2),
    "concepts": lambda run: write_concepts(run, 2, 6),
}
HALVED = {
    "syntax": "syntax_layers SET mean = mean / 2",
    "firing": "firing_layers SET estimate = estimate / 2",
    "agreement": "agreement SET estimate = estimate / 2",
    "concepts": "concept_layers SET hit_share = hit_share / 2, significant = 0",
}


def write_twin(run: Path) -> None:
    """A copy of a run that says it is its twin, with estimates by layer half as large."""
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    model = manifest.model.model_copy(
        update={"shuffled": 0, "weights_sha256": shuffled_sha256(manifest.model.weights_sha256, 0)}
    )
    twin = twin_path(run)
    twin.parent.mkdir(exist_ok=True)
    shutil.copy(run, twin)
    with duckdb.connect(str(twin)) as connection:
        document = manifest.model_copy(update={"model": model}).model_dump_json()
        connection.execute("UPDATE manifest SET document = ?", [document])
    for kind, write in WRITERS.items():
        write(run)
        write(twin)
        with duckdb.connect(str(analysis_path(twin, kind))) as connection:
            connection.execute(f"UPDATE {HALVED[kind]}")


@pytest.fixture(scope="module")
def paired(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client on copies of the runs; alpha has a twin, and all analyses of both."""
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("twins"), write_twin) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "measure"), [("syntax", "token_share"), ("firing", "active"), ("agreement", "residual")]
)
def test_every_estimate_of_a_layer_has_the_twins_beside_it(paired: TestClient, kind: str, measure: str) -> None:
    layers = paired.get(f"/api/v1/runs/alpha/{kind}").json()["layers"]
    assert len(layers) == 2
    for layer in layers:
        found = layer["measures"][measure]
        assert found["twin"] == pytest.approx(found["value"] / 2)
        assert found["excess"] == pytest.approx(found["value"] / 2)


def test_the_twins_parts_are_those_of_the_same_name(paired: TestClient) -> None:
    parts = paired.get("/api/v1/runs/alpha/agreement").json()["depth"]
    assert len({part["value"] for part in parts}) > 1
    for part in parts:
        assert (part["twin"], part["excess"]) == pytest.approx((part["value"] / 2, part["value"] / 2))


def test_a_concepts_layers_have_the_twins_counts_beside_them(paired: TestClient) -> None:
    layers = paired.get("/api/v1/runs/alpha/concepts/loops").json()["by_layer"]
    assert [layer["twin"]["significant"] for layer in layers] == [0, 0]
    for layer in layers:
        assert layer["twin"]["hit_share"] == pytest.approx(layer["hit_share"] / 2)
        assert layer["excess"] == pytest.approx(
            {"any_hit": 0, "above_random": 0, "significant": layer["significant"], "hit_share": layer["hit_share"] / 2}
        )


def test_a_run_without_a_twin_has_nothing_beside_it(runs_dir: Path, tmp_path: Path) -> None:
    with app_on_copies(runs_dir, tmp_path, write_firing, lambda run: write_concepts(run, 2, 6)) as client:
        found = client.get("/api/v1/runs/alpha/firing").json()["layers"][0]["measures"]["active"]
        assert (found["twin"], found["excess"]) == (None, None)
        layer = client.get("/api/v1/runs/alpha/concepts/loops").json()["by_layer"][0]
        assert (layer["twin"], layer["excess"]) == (None, {})
