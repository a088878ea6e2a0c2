"""A model in which four keys carry one pair of signs and three keys another, and a run over code full of both."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.analyses.kinds import SCHEMA_VERSION
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.concepts import Concept, define
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.worker.analysis.edit.analysis import EditAnalysis
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.models import save, tiny_tokenizer
from tests.worker.planted import plant_detector, plant_value, quiet_model
from tests.worker.precompute.corpora import run as compute_run
from tests.worker.shared import untouched

LAYER = 1
CARRIERS = (5, 11, 20, 33)
"""Keys that write @ after #."""
OTHERS = (2, 17, 40)
"""Keys that write $ after %."""
MAIL = define({"name": "mail", "title": "Mail", "patterns": {"python": {"regex": "@"}, "go": {"regex": "@"}}})
MONEY = define({"name": "money", "title": "Money", "patterns": {"python": {"regex": r"\$"}, "go": {"regex": r"\$"}}})


def write_pairs(folder: Path, files: int = 24) -> Path:
    """Write files of words in both languages, with %$ in all of them and #@ in two of three."""
    draw = random.Random(3)
    for number in range(files):
        for suffix in ("py", "go"):
            words = ["for", "x", "in", "y", "def", "%$", "%$"] + ["#@", "#@"] * (number % 3 > 0)
            lines = [" ".join(draw.choices(words, k=6)) for _ in range(draw.randrange(6, 14))]
            path = folder / f"file{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def token(text: str) -> int:
    (number,) = tiny_tokenizer()(text)["input_ids"]
    return int(number)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model's folder and the run file, with the concepts' keys ranked as if they had been found."""
    return computed(tmp_path_factory.mktemp("planted-edit"), planted_model())


def planted_model() -> nn.Module:
    """A quiet model with the keys of both pairs planted."""
    model = quiet_model()
    for keys, trigger, written in ((CARRIERS, "#", "@"), (OTHERS, "%", "$")):
        for index in keys:
            plant_detector(model, LAYER, index, token(trigger))
            plant_value(model, LAYER, index, token(written), length=12.0)
    return model


def computed(folder: Path, model: nn.Module) -> tuple[Path, Path]:
    """Save a model and compute its run over the pairs, with the ranking of the planted keys beside it."""
    path = save(folder / "model", model)
    run = compute_run(path, write_pairs(folder / "corpus"), folder / "runs")
    publish_ranking(run, ((MAIL, CARRIERS), (MONEY, OTHERS)))
    return path, run


def publish_ranking(run: Path, ranked: tuple[tuple[Concept, tuple[int, ...]], ...]) -> None:
    """Publish concepts beside a run: AUROC ranks the carriers first, then every other key; FDR finds none."""
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    with publish_analysis(run, "concepts") as connection:
        for concept, carriers in ranked:
            row = {"concept": concept.part, "name": concept.name, "title": concept.title}
            row |= {"sha256": concept.sha256, "definition": concept.model_dump_json()}
            connection.execute(
                f"INSERT INTO concepts ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )
            keys = [(LAYER, index) for index in carriers]
            keys += [(layer, index) for layer in range(3) for index in range(48) if (layer, index) not in keys]
            connection.executemany(
                'INSERT INTO concept_keys (concept, layer, "index", rank_auroc) VALUES (?, ?, ?, ?)',
                [(concept.part, layer, index, rank) for rank, (layer, index) in enumerate(keys, start=1)],
            )
        made = AnalysisManifest(
            schema_version=SCHEMA_VERSION,
            kind="concepts",
            run_id=run.stem,
            weights_sha256=manifest.model.weights_sha256,
            corpus_sha256=manifest.corpus.sha256,
            settings={},
            files=0,
            tokens=0,
            seconds=0,
            started="2026-01-01T00:00:00Z",
            finished="2026-01-01T00:00:00Z",
            code_version="0",
            versions={},
        )
        write_analysis_manifest(connection, made)


@pytest.fixture
def run_path(planted: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run, to analyse."""
    shutil.copytree(planted[1].parent, tmp_path / "runs")
    return tmp_path / "runs" / planted[1].name


@pytest.fixture(scope="session")
def model(planted: tuple[Path, Path]) -> Iterator[CodeModel]:
    """The planted model, loaded once for all tests."""
    with untouched(load_model(ModelSource(str(planted[0]), device="cpu"))) as loaded:
        yield loaded


@pytest.fixture
def subject(run_path: Path, model: CodeModel) -> Iterator[Subject]:
    """The copy of the run, opened with the shared model."""
    with untouched(model), open_subject(run_path, model, (), Silent()) as opened:
        yield opened


SETTINGS = {
    "concept": MAIL.part,
    "picker": "auroc",
    "share": 4 / 144,
    "doses": f"{1 / 144},{4 / 144},{10 / 144}",
    "tokens": 1_000_000,
    "tau": 4,
    "draws": 8,
    "resamples": 2,
}


def edit(subject: Subject, **settings: Any) -> EditAnalysis:
    """Compute an edit of the mail concept."""
    analysis = make_analysis("edit", {**SETTINGS, **settings})
    assert isinstance(analysis, EditAnalysis)
    analyse(subject, analysis)
    return analysis


@pytest.fixture(scope="session")
def edited(planted: tuple[Path, Path], model: CodeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with one edit beside it."""
    folder = tmp_path_factory.mktemp("edited") / "runs"
    shutil.copytree(planted[1].parent, folder)
    with open_subject(folder / planted[1].name, model, (), Silent()) as subject:
        edit(subject)
    return folder / planted[1].name


@pytest.fixture(scope="session")
def shared(planted: tuple[Path, Path], model: CodeModel) -> Iterator[Subject]:
    """The run itself, opened once for tests that only read it."""
    with open_subject(planted[1], model, (), Silent()) as opened:
        yield opened


def rows(path: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with open_run(path) as connection:
        return connection.execute(query, list(values)).fetchall()


def effect(path: Path, role: str, group: str, name: str = "", measure: str = "accuracy") -> tuple[float, ...]:
    """Level, change and the ends of its interval, under the main dose or another role."""
    wanted = "c.role = 'dose' AND c.main" if role == "main" else f"c.role = '{role}'"
    columns = f"e.{measure}, e.{measure}_change, e.{measure}_low, e.{measure}_high"
    query = f"""SELECT {columns} FROM edit_effects e JOIN edit_conditions c USING (edit, condition)
        WHERE {wanted} AND e."group" = ? AND e.name = ?"""
    (found,) = rows(path, query, group, name)
    return found
