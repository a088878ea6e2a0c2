"""One small run, computed once, with everything an analysis needs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus
from tests.worker.shared import untouched


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny CodeGen and its run over sixteen made files."""
    folder = tmp_path_factory.mktemp("analysed")
    model = save_tiny(folder / "model", "codegen")
    return model, run(model, write_corpus(folder / "corpus"), folder / "runs")


@pytest.fixture(scope="session")
def model(computed: tuple[Path, Path]) -> Iterator[CodeModel]:
    """The run's model, loaded once for all tests."""
    with untouched(load_model(ModelSource(str(computed[0]), dtype="float32", device="cpu"))) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def read_only(computed: tuple[Path, Path], model: CodeModel) -> Iterator[Subject]:
    """The run itself, opened once for tests that only read it."""
    with open_subject(computed[1], model, (), Silent()) as opened:
        yield opened


@pytest.fixture
def run_path(computed: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run with its corpus, to analyse and to break."""
    _, path = computed
    shutil.copytree(path.parent, tmp_path / "runs")
    return tmp_path / "runs" / path.name


@pytest.fixture
def subject(run_path: Path, model: CodeModel) -> Iterator[Subject]:
    """That copy, opened with the shared model."""
    with untouched(model), open_subject(run_path, model, (), Silent()) as opened:
        yield opened
