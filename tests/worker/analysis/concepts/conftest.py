"""A concept of two tokens, `#!`, and runs over files half of which contain it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyscope.contract.concepts import Concept, define
from keyscope.contract.manifest import RunSettings
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.precompute.corpora import WORDS, run

SETTINGS = RunSettings(window=32, stride=32, top_k=20, context=4, keep_duplicates=True)
PLAIN = [word for word in WORDS if "#" not in word and word.isascii()]


@pytest.fixture(scope="session")
def concept() -> Concept:
    return define({"name": "shebang", "title": "Shebang", "patterns": {"python": {"regex": "#!"}}})


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 files of twenty lines; the concept is on one line of every other file."""
    folder, draw = tmp_path_factory.mktemp("shebangs"), random.Random(0)
    for number in range(80):
        lines = [" ".join(draw.choices(PLAIN, k=draw.randrange(1, 5))) for _ in range(20)]
        if number % 2:
            lines[draw.randrange(20)] += " #!"
        (folder / f"file{number}.py").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@contextmanager
def computed(model: Path, corpus: Path, out: Path) -> Iterator[Subject]:
    """A run of a model over the corpus, open for analysis."""
    path = run(model, corpus, out, SETTINGS, batch=16)
    source = ModelSource(str(model), dtype="float32", device="cpu")
    with open_subject(path, source, (), Silent()) as subject:
        yield subject
