from pathlib import Path

import pytest

from keyscope.worker.live.generation import Generator
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from tests.worker.live.driving import NANO
from tests.worker.models import save_tiny


@pytest.fixture
def anyio_backend() -> str:
    """Coroutines among the tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="session")
def nano() -> CodeModel:
    """The embedded demo model."""
    return load_model(ModelSource(str(NANO)))


@pytest.fixture(scope="session")
def nano_generator(nano: CodeModel) -> Generator:
    return Generator(nano)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), "codegen")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> CodeModel:
    return load_model(ModelSource(str(tiny_folder)))
