"""Tiny models loaded once a session and shared by the tests, each of which has to leave them as it found them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from tests.worker.models import save_tiny
from tests.worker.shared import untouched

WAYS = (
    "codegen",
    "gpt2",
    "gpt_neox-sequential",
    "llama",
    "phi",
    "phi3",
    "gemma2",
    "olmo2",
    "granite",
    "falcon",
    "opt",
    "opt-post",
    "bloom",
)
"""A configuration for every way in which blocks and heads differ; `test_families.py` goes through all."""
FolderOf = Callable[[str], Path]
LoadTiny = Callable[[str], CodeModel]


@pytest.fixture(scope="session")
def tiny_folder_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """The folder of the tiny model of a kind, for tests that read it."""
    return cache(lambda kind: save_tiny(tmp_path_factory.mktemp("models") / kind, kind))


@pytest.fixture(scope="session")
def load_once(tiny_folder_of: FolderOf) -> LoadTiny:
    return cache(lambda kind: load_model(ModelSource(str(tiny_folder_of(kind)), dtype="float32", device="cpu")))


@pytest.fixture
def load_tiny(load_once: LoadTiny) -> Iterator[LoadTiny]:
    """The shared tiny model of a kind; a test that edits it fails."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(untouched(load_once(kind))))


@pytest.fixture(params=WAYS)
def tiny(request: pytest.FixtureRequest, load_tiny: LoadTiny) -> CodeModel:
    """The shared tiny model of each of `WAYS`, one after another."""
    return load_tiny(request.param)


@pytest.fixture
def own_tiny(tiny: CodeModel) -> CodeModel:
    """A copy of `tiny` whose weights a test may edit."""
    return deepcopy(tiny)
