"""Recomputing random keys of a published run."""

import shutil
from pathlib import Path

import duckdb
import pytest

from keyscope.contract.manifest import Verification
from keyscope.worker.precompute.errors import OtherModel
from keyscope.worker.precompute.verify import verify_run
from keyscope.worker.progress import Silent
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny", "gpt2", bos=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return run(model, write_corpus(folder / "corpus"), folder / "runs")


@pytest.fixture
def published(tmp_path: Path, made: Path) -> Path:
    """A copy of the run and what lies beside it, to verify and to tamper with."""
    return shutil.copytree(made.parent, tmp_path / "runs") / made.name


def _verify(path: Path, model: Path) -> Verification:
    return verify_run(path, str(model), keys=60, triggers_per_key=2, seed=1, progress=Silent(), device="cpu")


def test_a_run_is_verified_and_the_result_written_beside_it(published: Path, model: Path) -> None:
    result = _verify(published, model)
    assert result.passed
    assert (result.keys, result.triggers) == (60, 120)
    assert result.largest_error < 1e-4
    written = published.with_suffix(".verify.json").read_text("utf-8")
    assert Verification.model_validate_json(written) == result


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE triggers SET coefficient = coefficient + 0.01",
        "UPDATE triggers SET position = position - 1 WHERE position > 1",
    ],
)
def test_tampered_triggers_do_not_pass(published: Path, model: Path, change: str) -> None:
    with duckdb.connect(str(published)) as connection:
        connection.execute(change)
    assert not _verify(published, model).passed


def test_a_model_with_other_weights_is_refused(published: Path, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", "gpt2", seed=5, bos=True)
    with pytest.raises(OtherModel, match="--model"):
        _verify(published, other)
