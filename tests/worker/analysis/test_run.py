"""Any analysis from outside: published complete, resumed after a stop, refused for other weights or files."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import duckdb
import numpy as np
import pytest
import torch

from keyscope.contract.analyses import kinds
from keyscope.contract.analyses.files import analysis_folder, analysis_path, read_analyses
from keyscope.contract.runfile import open_run
from keyscope.contract.tables import KEY, Column, FileExists, Table
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Settings, Step, file_steps
from keyscope.worker.analysis.errors import InvalidSetting, UnknownAnalysis
from keyscope.worker.analysis.features import FeatureCounts
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.analysis.walk import forward, walk
from keyscope.worker.locks import lock_of, locked
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.corpus import corpus_folder
from keyscope.worker.precompute.errors import OtherCorpus, OtherModel, OutputUnwritable
from keyscope.worker.progress import Advance, Silent
from keyscope.worker.rows import insert
from tests.worker.models import save_tiny

FIRING = Table("counted", (*KEY, Column("fires", "UBIGINT"), Column("strongly", "UBIGINT")), ("layer", "index"))


class CountSettings(Settings):
    level: float = 0.5


class Counting(Analysis):
    """Counts how often each key is above 0 and above a level."""

    kind = "counting"
    settings: CountSettings
    steps_run = 0

    def steps(self, subject: Subject) -> Sequence[Step]:
        return file_steps(subject, 3)

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        levels = [[np.float32(level)] * subject.manifest.model.n_layers for level in (0.0, self.settings.level)]
        counts = FeatureCounts(subject.model, 1, levels)
        for batch, at in walk(subject, step.files):
            ones = torch.ones(len(at), 1)
            forward(subject.model, batch, at, lambda layer, found, ones=ones: counts.add(layer, found, ones))
            assert not any(module._forward_pre_hooks for module in subject.model.model.modules())
            advance(batch.n_tokens)
        type(self).steps_run += 1
        return {"counts": counts.arrays()[:, :, 0]}

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        total = sum(np.asarray(results[step.name]["counts"]) for step in self.steps(subject))
        sizes = subject.manifest.model.keys_per_layer
        insert(
            connection,
            FIRING,
            {
                "layer": np.repeat(np.arange(len(sizes)), sizes),
                "index": np.concatenate([np.arange(size) for size in sizes]),
                "fires": total[0],
                "strongly": total[1],
            },
        )


@pytest.fixture(autouse=True)
def known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "steps_run", 0)
    monkeypatch.setitem(kinds.KINDS, "counting", (FIRING,))


def _rows(path: Path) -> list[tuple[Any, ...]]:
    with open_run(path) as connection:
        return connection.execute('SELECT * FROM counted ORDER BY layer, "index"').fetchall()


def test_an_analysis_is_published_beside_its_run_and_found_when_the_run_is_opened(subject: Subject) -> None:
    assert _rows(subject.path) == []
    path = analyse(subject, Counting(CountSettings()))
    assert path == analysis_path(subject.path, "counting")
    with open_run(subject.path) as connection:
        (manifest,) = read_analyses(connection)
        expected = connection.execute('SELECT layer, "index", round(firing_rate * n) FROM keys ORDER BY ALL').fetchall()
    assert [row[:3] for row in _rows(subject.path)] == expected
    assert manifest.settings == {"level": 0.5}
    assert manifest.files == subject.store.n_files
    assert manifest.tokens == len(subject.store.token_ids)
    assert manifest.cost is not None
    assert 0.1 < manifest.cost < 1000


def test_counts_above_a_level_equal_those_of_plain_coefficients(subject: Subject) -> None:
    analyse(subject, Counting(CountSettings(level=0.3)))
    expected = np.zeros((3, 48), dtype=np.int64)
    for file in range(subject.store.n_files):
        ids = subject.store.token_ids[subject.store.tokens_of(file)]
        for start in range(0, len(ids), 32):

            def count(layer: int, found: torch.Tensor) -> None:
                expected[layer] += (found[0] > 0.3).sum(dim=0).numpy()

            with torch.inference_mode(), read_coefficients(subject.model, count):
                subject.model.run_body(torch.tensor(ids[None, start : start + 32].astype(np.int64)))
    assert [row[3] for row in _rows(subject.path)] == expected.ravel().tolist()


def test_an_interrupted_analysis_resumes_to_the_same_rows(
    subject: Subject, run_path: Path, model: CodeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run_path.parent, tmp_path / "unbroken")
    with open_subject(tmp_path / "unbroken" / run_path.name, model, (), Silent()) as other:
        analyse(other, Counting(CountSettings()))
        steps = len(Counting(CountSettings()).steps(other))
    Counting.steps_run = 0
    run_step = Counting.run_step

    def stop(self: Counting, *args: Any) -> Arrays:
        if self.steps_run == 2:
            raise KeyboardInterrupt
        return run_step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "run_step", stop)
        with pytest.raises(KeyboardInterrupt):
            analyse(subject, Counting(CountSettings()))
    assert not analysis_path(run_path, "counting").exists()
    analyse(subject, Counting(CountSettings()))
    assert Counting.steps_run == steps
    assert _rows(run_path) == _rows(tmp_path / "unbroken" / run_path.name)
    assert list((run_path.with_suffix(".analysis") / ".work").iterdir()) == []


def test_steps_that_a_killed_analysis_left_after_publishing_are_removed_by_the_next_command(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = subject.path.with_suffix(".analysis") / ".work"
    with monkeypatch.context() as patch:
        patch.setattr("keyscope.worker.analysis.run.shutil.rmtree", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            analyse(subject, Counting(CountSettings()))
    (steps,) = work.iterdir()
    with locked(steps):
        analyse(subject, Counting(CountSettings()))
        assert steps.is_dir()
    lock_of(steps).touch()
    analyse(subject, Counting(CountSettings()))
    assert list(work.iterdir()) == []


def test_steps_of_an_analysis_that_is_being_replaced_are_kept(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse(subject, Counting(CountSettings()))
    steps = len(Counting(CountSettings()).steps(subject))
    monkeypatch.setattr(Counting, "steps_run", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Counting, "write", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            analyse(subject, Counting(CountSettings()), replace=True)
    analyse(subject, Counting(CountSettings()), replace=True)
    assert Counting.steps_run == steps


class Prepared(Counting):
    """Counting, after one step per layer that runs no tokens through the model."""

    def steps(self, subject: Subject) -> Sequence[Step]:
        layers = [Step(f"layer-{layer}", (), 0) for layer in range(subject.manifest.model.n_layers)]
        return [*layers, *super().steps(subject)]

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        return super().run_step(subject, step, done, advance) if step.tokens else {"nothing": np.zeros(1)}

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        """Write nothing."""


class Listening(Silent):
    """Records the stages of analysing: unit, total and what was reported as done."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float | None, list[float]]] = []

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        told: list[float] = []
        if name.startswith("analysing"):
            self.stages.append((unit, total, told))
        yield told.append


def test_progress_counts_tokens_or_else_steps(run_path: Path, model: CodeModel) -> None:
    progress = Listening()
    with open_subject(run_path, model, (), progress) as subject:
        analyse(subject, Prepared(CountSettings()))
        tokens, layers = len(subject.store.token_ids), subject.manifest.model.n_layers
    assert [(unit, total, sum(told)) for unit, total, told in progress.stages] == [
        ("steps", layers, layers),
        ("tokens", tokens, tokens),
    ]


def test_a_finished_analysis_is_kept_unless_told_to_replace_it(subject: Subject) -> None:
    path = analyse(subject, Counting(CountSettings()))
    before = path.read_bytes()
    assert analyse(subject, Counting(CountSettings())) == path
    with pytest.raises(FileExists, match="--replace"):
        analyse(subject, Counting(CountSettings(level=0.1)))
    assert path.read_bytes() == before
    analyse(subject, Counting(CountSettings(level=0.1)), replace=True)
    assert path.read_bytes() != before


def test_two_parts_of_one_kind_stand_side_by_side(subject: Subject) -> None:
    analyse(subject, Counting(CountSettings(), part="one"))
    analyse(subject, Counting(CountSettings(), part="two"))
    assert len(_rows(subject.path)) == 2 * 3 * 48


def test_an_analysis_of_another_run_is_named_and_left_alone(subject: Subject) -> None:
    path = analyse(subject, Counting(CountSettings()))
    with duckdb.connect(str(path)) as connection:
        (document,) = connection.execute("SELECT document FROM manifest").fetchall()[0]
        changed = json.dumps(json.loads(document) | {"corpus_sha256": "0" * 64})
        connection.execute("UPDATE manifest SET document = ?", [changed])
    with open_run(subject.path) as connection:
        assert read_analyses(connection) == []
        (problem,) = connection.execute("SELECT problem FROM analyses").fetchall()[0]
        assert "another run" in problem
    assert _rows(subject.path) == []
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"no database" * 999])
def test_a_broken_analysis_does_not_hide_the_run(subject: Subject, content: bytes) -> None:
    path = analysis_path(subject.path, "counting")
    path.write_bytes(content)
    with open_run(subject.path) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchall() == [(144,)]
        assert "counting.duckdb" in connection.execute("SELECT problem FROM analyses").fetchall()[0][0]
    assert path.read_bytes() == content


def test_an_analysis_that_lacks_a_column_reads_it_as_missing(subject: Subject) -> None:
    path = analyse(subject, Counting(CountSettings()))
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE counted DROP COLUMN strongly")
    with open_run(subject.path) as connection:
        assert connection.execute("SELECT count(*) FROM keys").fetchall() == [(144,)]
        assert connection.execute("SELECT problem FROM analyses").fetchall() == [(None,)]
        assert connection.execute("SELECT DISTINCT strongly FROM counted").fetchall() == [(None,)]
    analyse(subject, Counting(CountSettings()), replace=True)
    assert len(_rows(subject.path)) == 3 * 48


def test_a_folder_that_cannot_be_written_is_reported_in_one_sentence(
    run_path: Path, model: CodeModel, tmp_path: Path
) -> None:
    copied = tmp_path / run_path.name
    shutil.copy(run_path, copied)
    analysis_folder(copied).write_text("no folder")
    with (
        pytest.raises(OutputUnwritable, match=r"cannot be written .* then give the command again"),
        open_subject(copied, model, (), Silent()),
    ):
        pass


def test_other_weights_are_refused(run_path: Path, tmp_path: Path) -> None:
    other = ModelSource(str(save_tiny(tmp_path / "other", "codegen", seed=1)), dtype="float32", device="cpu")
    with pytest.raises(OtherModel, match="--model"), open_subject(run_path, other, (), Silent()):
        pass


def test_a_removed_corpus_is_gathered_again_and_a_changed_one_refused(
    run_path: Path, model: CodeModel, computed: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.rmtree(corpus_folder(run_path))
    with open_subject(run_path, model, (), Silent()) as subject:
        assert subject.store.n_files == 16
        first = subject.store.text(0).decode()
    shutil.rmtree(corpus_folder(run_path))
    changed = tmp_path / "changed"
    shutil.copytree(computed[0].parent / "corpus", changed)
    next(changed.rglob("*.py")).write_text(first + "print('changed')\n", "utf-8")
    with pytest.raises(OtherCorpus, match="sha256"), open_subject(run_path, model, (str(changed),), Silent()):
        pass


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_an_unusable_seed_is_named(kind: str, seed: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{kind} cannot use seed='{seed}'"):
        make_analysis(kind, {"seed": seed} | ({"concept": "numpy"} if kind == "edit" else {}))


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_every_listed_kind_has_a_room_that_builds_it(kind: str) -> None:
    assert make_analysis(kind, {"concept": "numpy"} if kind == "edit" else {}).kind == kind


def test_an_unknown_kind_or_setting_is_named() -> None:
    with pytest.raises(UnknownAnalysis, match=r"'magic'.*syntax"):
        make_analysis("magic", {})
    with pytest.raises(InvalidSetting, match="firing has no setting 'magic': choose from strong_share, "):
        make_analysis("firing", {"magic": "1"})
    with pytest.raises(InvalidSetting, match=r"agreement cannot use tokens='many': .*integer"):
        make_analysis("agreement", {"tokens": "many"})
    with pytest.raises(InvalidSetting, match="concepts cannot use these settings: magic is not shipped"):
        make_analysis("concepts", {"names": "magic"})
