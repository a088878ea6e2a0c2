from collections.abc import Callable
from pathlib import Path

import pytest

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from tests.worker.models import TINY, save_tiny


@pytest.fixture(scope="session")
def load_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CodeModel]:
    """Load a tiny model of a kind; each call gives a model of its own, whose weights may be edited."""
    folders: dict[str, Path] = {}

    def load(kind: str) -> CodeModel:
        if kind not in folders:
            folders[kind] = save_tiny(tmp_path_factory.mktemp(kind), kind)
        return load_model(ModelSource(str(folders[kind])))

    return load


@pytest.fixture(params=TINY)
def tiny(request: pytest.FixtureRequest, load_tiny: Callable[[str], CodeModel]) -> CodeModel:
    """A tiny model of every family, one after another."""
    return load_tiny(request.param)
