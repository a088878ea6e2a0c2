"""A run of a model with planted keys, and runs of copies with the weights of their keys shuffled."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyscope.contract.manifest import RunSettings
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.run import PrecomputeRequest, precompute
from keyscope.worker.progress import Silent
from tests.worker.analysis.syntax.plants import WINDOW, Plants, code

KEYWORDS = (
    " return",
    " if",
    " for",
    " in",
    " not",
    " and",
    " or",
    " else",
    " while",
    " pass",
    " del",
    " assert",
    "def",
)
FILES = 120
SETTINGS = RunSettings(window=WINDOW, stride=WINDOW, top_k=60, context=4, keep_duplicates=True)
DETECTOR, BIGRAM, EVERYWHERE, KEYWORD = (0, 0), (0, 1), (0, 2), (1, 3)
OpenPlanted = Callable[[int | None], Subject]


@pytest.fixture(scope="session")
def subject(read_only: Subject) -> Subject:
    """The small run: the tests here only read it."""
    return read_only


def planted(texts: list[str]) -> Plants:
    plants = Plants(texts)
    plants.detector(*DETECTOR, " if")
    plants.bigram(*BIGRAM, " and", " not")
    plants.everywhere(*EVERYWHERE)
    plants.detector(*KEYWORD, *KEYWORDS)
    return plants


@pytest.fixture(scope="session")
def open_planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenPlanted]:
    """Open the run of the planted model, or with a seed that of a copy shuffled with that seed; each once a session."""
    folder = tmp_path_factory.mktemp("planted")
    texts = code(FILES)
    (folder / "corpus").mkdir()
    for number, text in enumerate(texts):
        (folder / "corpus" / f"{number:03}.py").write_text(text, "utf-8")
    opened: dict[int | None, Subject] = {}
    with ExitStack() as stack:

        def open_run(shuffle: int | None) -> Subject:
            if shuffle not in opened:
                plants = planted(texts)
                if shuffle is not None:
                    plants.shuffle(shuffle)
                source = ModelSource(str(plants.save(folder / f"model-{shuffle}")), dtype="float32", device="cpu")
                path = _precomputed(source, folder / "corpus", folder / f"runs-{shuffle}")
                opened[shuffle] = stack.enter_context(open_subject(path, source, (), Silent()))
            return opened[shuffle]

        yield open_run


def _precomputed(source: ModelSource, corpus: Path, out: Path) -> Path:
    request = PrecomputeRequest(
        source=source, corpus=(str(corpus),), out=out, settings=SETTINGS, languages=("python",), batch=8
    )
    return precompute(request, Silent())
