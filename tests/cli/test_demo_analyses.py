"""The analyses of the demo's run: what is asked of the worker, and what is reported."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyscope.cli import demo_analyses
from keyscope.cli.demo_analyses import WANTED, WorkerPlace, compute_analyses, edited_concept
from keyscope.contract.analyses.files import analysis_folder
from keyscope.contract.twin import TWIN_KINDS, twin_path
from keyscope.worker.progress import Advance, Silent
from tests.fake_worker import HALF, FakeWorker
from tests.made.concepts import write_concepts
from tests.made.runs import Shape, build_run
from tests.processes import free_port
from tests.serving import serving


class Heard(Silent):
    """Keeps notes, stages and percents."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: dict[str, list[float]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        yield self.stages.setdefault(name, []).append


@pytest.fixture
def worker() -> FakeWorker:
    """Its jobs begin when they are first looked at, and end when they are looked at again."""
    worker = FakeWorker("", [2])
    worker.weights_sha256 = None  # type: ignore[assignment]
    worker.jobs = []
    return worker


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("built") / "small.duckdb", Shape(layers=1, keys=8))


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    run = tmp_path / built.name
    shutil.copy(built, run)
    analysis_folder(run).mkdir()
    return run


def turn(worker: FakeWorker) -> None:
    """Let the oldest job that has not ended begin, or end."""
    assert worker.jobs is not None
    at = max(at for at, job in enumerate(worker.jobs) if job.state in ("queued", "running"))
    job = worker.jobs[at]
    change = {"state": "running", "progress": HALF} if job.state == "queued" else {"state": "done", "progress": None}
    worker.jobs[at] = job.model_copy(update=change)


def test_everything_missing_is_computed_in_order_and_reported(worker: FakeWorker, run: Path) -> None:
    heard = Heard()
    with serving(worker.app) as url:
        compute_analyses(run, WorkerPlace(url, "secret"), heard, lambda _seconds: turn(worker))
    assert worker.jobs is not None
    numpy = {"concept": "numpy"}
    assert [(job.kind, job.settings) for job in reversed(worker.jobs)] == [
        (kind, settings | (numpy if kind == "edit" else {})) for kind, settings in WANTED
    ]
    assert [name.split(",")[0] for name in heard.stages] == [
        f"{kind.replace(',', ' and ')} ({number} of {len(WANTED)})" for number, (kind, _) in enumerate(WANTED, 1)
    ]
    assert all(advanced == [50] for advanced in heard.stages.values())
    assert heard.notes[-1] == "all pages are filled"


def test_what_is_there_is_not_computed_again(worker: FakeWorker, run: Path) -> None:
    for name in ("concepts", "syntax", "firing", "edit.numpy-abc123"):
        (analysis_folder(run) / f"{name}.duckdb").touch()
    twin_path(run).touch()
    analysis_folder(twin_path(run)).mkdir()
    for name in TWIN_KINDS:
        (analysis_folder(twin_path(run)) / f"{name}.duckdb").touch()
    with serving(worker.app) as url:
        compute_analyses(run, WorkerPlace(url, "secret"), Heard(), lambda _seconds: turn(worker))
        assert worker.jobs is not None
        assert [job.kind for job in worker.jobs] == ["agreement"]
        (analysis_folder(run) / "agreement.duckdb").touch()
        silent = Heard()
        compute_analyses(run, WorkerPlace(url, "secret"), silent)
    assert silent.notes == []


def test_the_most_telling_concept_that_enough_files_have_is_edited(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analysis_folder(run).rmdir()
    write_concepts(run, layers=1, keys_per_layer=8)
    monkeypatch.setattr(demo_analyses, "ENOUGH_FILES", 2)
    assert edited_concept(run) == "numpy"
    monkeypatch.setattr(demo_analyses, "ENOUGH_FILES", 3)
    assert edited_concept(run) == "loops"
    monkeypatch.setattr(demo_analyses, "EDITED", ("http",))
    assert edited_concept(run) == "loops"  # the commonest, by places and then by name


def test_a_failure_is_said_and_the_others_go_on(worker: FakeWorker, run: Path) -> None:
    def fail(_seconds: float) -> None:
        assert worker.jobs is not None
        worker.jobs = [job.model_copy(update={"state": "failed", "detail": "no disk"}) for job in worker.jobs]

    heard = Heard()
    with serving(worker.app) as url:
        compute_analyses(run, WorkerPlace(url, "secret"), heard, fail)
    assert [note for note in heard.notes if "failed" in note] == [
        f"{kind.replace(',', ' and ')} failed: no disk" for kind, _ in WANTED
    ]


def test_a_worker_that_is_away_is_said_once(run: Path) -> None:
    heard = Heard()
    compute_analyses(run, WorkerPlace(f"http://127.0.0.1:{free_port()}", "secret"), heard)
    assert ["does not answer" in note for note in heard.notes] == [False, True]
