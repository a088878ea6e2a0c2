"""A tiny gated model, a small corpus, and the run of both computed without interruption."""

from pathlib import Path

import pytest

from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny", "llama")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, model: Path, corpus: Path) -> Path:
    return run(model, corpus, tmp_path_factory.mktemp("unbroken"))
