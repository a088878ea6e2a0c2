"""The twin of a run: its weights, its file beside the run, its analyses, and what reads them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from keyscope.app.runs import Registry
from keyscope.contract.analyses.files import read_problems
from keyscope.contract.manifest import shuffled_sha256
from keyscope.contract.runfile import open_run, read_manifest, read_twin
from keyscope.contract.twin import trained_run, twin_path
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.twin import analyse_twin, precompute_twin
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.twin import as_twin, twin_of
from keyscope.worker.progress import Silent
from tests.worker.models import save, tiny_model
from tests.worker.precompute.corpora import run, write_corpus


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CodeModel:
    saved = save(tmp_path_factory.mktemp("model"), tiny_model("gpt2"))
    return load_model(ModelSource(str(saved), dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def paired(model: CodeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its twin, and an analysis of the twin alone."""
    folder = tmp_path_factory.mktemp("paired")
    saved = save(folder / "model", tiny_model("gpt2"))
    path = run(saved, write_corpus(folder / "corpus", 4), folder / "runs")
    precompute_twin(path, model, (), Silent(), batch=4)
    analyse_twin(path, model, [make_analysis("firing", {"draws": 20})], Silent(), 4)
    return path


def test_only_the_matrices_of_the_blocks_are_shuffled(model: CodeModel) -> None:
    twin = twin_of(model, seed=3)
    blocks = {name for name, _ in model.model.transformer.h.named_parameters(prefix="transformer.h")}
    for (name, own), (_, other) in zip(model.model.named_parameters(), twin.model.named_parameters(), strict=True):
        shuffled = name in blocks and own.ndim > 1
        assert torch.equal(own, other) is not shuffled, name
        if shuffled:
            assert torch.equal(own.flatten().sort().values, other.flatten().sort().values), name
    again = twin_of(model, seed=3)
    assert torch.equal(again.layers[1].values, twin.layers[1].values)
    assert not torch.equal(twin_of(model, seed=4).layers[1].values, twin.layers[1].values)
    assert twin.facts.weights_sha256 == shuffled_sha256(model.facts.weights_sha256, 3)


def test_a_model_can_be_its_own_twin_for_a_while(model: CodeModel) -> None:
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    copy = dict(twin_of(model, seed=3).model.named_parameters())
    with as_twin(model, seed=3) as twin:
        assert twin.facts.shuffled == 3
        assert all(torch.equal(parameter, copy[name]) for name, parameter in twin.model.named_parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.model.named_parameters())


def test_a_twin_lies_beside_its_run_and_is_not_listed(paired: Path) -> None:
    assert twin_path(paired).is_file()
    assert trained_run(twin_path(paired)) == paired == trained_run(paired)
    registry = Registry(paired.parent)
    assert registry.run_ids() == [paired.stem]
    registry.close()
    with open_run(paired) as connection:
        twin, manifest = read_twin(connection), read_manifest(connection)
        assert twin is not None
        assert twin.is_twin_of(manifest)
        assert not manifest.is_twin_of(manifest)
        assert (twin.settings, twin.corpus) == (manifest.settings, manifest.corpus)
        own, other = (
            np.array(connection.execute(f"SELECT maximum FROM {table} ORDER BY ALL").fetchall())
            for table in ("keys", "twin.keys")
        )
        assert own.shape == other.shape
        assert not np.allclose(own, other)


def test_the_twins_analyses_are_in_its_schema(paired: Path) -> None:
    with open_run(paired) as connection:
        counts = "SELECT (SELECT count(*) FROM {0}), (SELECT count(*) FROM twin.{0})"
        assert connection.execute(counts.format("firing_layers")).fetchall()[0][0] == 0
        assert connection.execute(counts.format("firing_layers")).fetchall()[0][1] > 0
        assert connection.execute("SELECT kind FROM twin.analyses").fetchall() == [("firing",)]
        with connection.cursor() as cursor:
            cursor.execute("USE memory.twin")
            assert cursor.execute("SELECT count(*) > 0 FROM firing_layers").fetchall() == [(True,)]
        assert connection.execute("SELECT count(*) FROM firing_layers").fetchall() == [(0,)]


def test_a_run_without_a_twin_has_its_tables_empty_and_one_of_another_run_is_refused(
    paired: Path, tmp_path: Path
) -> None:
    alone = tmp_path / paired.name
    shutil.copy(paired, alone)
    with open_run(alone) as connection:
        assert read_twin(connection) is None
        assert connection.execute("SELECT count(*) FROM twin.keys").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM twin.concept_keys").fetchall() == [(0,)]
    twin_path(alone).parent.mkdir()
    shutil.copy(paired, twin_path(alone))
    with open_run(alone) as connection:
        assert read_twin(connection) is None
        ((kind, problem),) = read_problems(connection)
        assert kind == "twin"
        assert "is not the twin of" in problem
