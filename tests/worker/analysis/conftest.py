"""One small run, computed once, with everything an analysis needs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny CodeGen and its run over sixteen made files."""
    folder = tmp_path_factory.mktemp("analysed")
    model = save_tiny(folder / "model", "codegen")
    return model, run(model, write_corpus(folder / "corpus"), folder / "runs")


@pytest.fixture
def run_path(computed: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run with its corpus, to analyse and to break."""
    _, path = computed
    shutil.copytree(path.parent, tmp_path / "runs")
    return tmp_path / "runs" / path.name


@pytest.fixture
def source(computed: tuple[Path, Path]) -> ModelSource:
    return ModelSource(str(computed[0]), dtype="float32", device="cpu")


@pytest.fixture
def subject(run_path: Path, source: ModelSource) -> Iterator[Subject]:
    with open_subject(run_path, source, (), Silent()) as opened:
        yield opened
