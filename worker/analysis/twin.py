"""The twin of a run: computed over the same corpus with the same settings, and kept beside the run."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from keyscope.contract.analyses.files import analysis_folder
from keyscope.contract.runfile import open_run, read_manifest, read_twin
from keyscope.contract.twin import TWIN, TWIN_KINDS, twin_path
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Seed, Settings, Step
from keyscope.worker.analysis.kinds import checked
from keyscope.worker.analysis.run import analyse_together
from keyscope.worker.analysis.subject import DISK_REMEDY, Subject, open_corpus, open_subject
from keyscope.worker.disk import readable_disk_errors
from keyscope.worker.locks import locked
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.twin import as_twin, twin_of
from keyscope.worker.precompute.errors import check_weights
from keyscope.worker.precompute.executors.executor import Outline
from keyscope.worker.precompute.executors.local import LocalExecutor
from keyscope.worker.precompute.leftovers import run_state
from keyscope.worker.precompute.run import compute, new_work, planned
from keyscope.worker.progress import Advance, Progress
from keyscope.worker.storage import Storage


class TwinSettings(Settings):
    """Everything that determines a twin besides its run."""

    seed: Seed = 0


class TwinOfRun(Analysis):
    """A run's twin, where an analysis is asked for: it has no steps, because it is a run of its own."""

    kind = TWIN
    settings: TwinSettings

    @classmethod
    def asked(cls, settings: Mapping[str, Any]) -> "TwinOfRun":
        """The twin with some settings.

        Raises:
            InvalidSetting: there is no such setting, or it cannot have this value.
        """
        with checked(TWIN):
            return cls(TwinSettings.model_validate(settings))

    def steps(self, subject: Subject) -> Sequence[Step]:
        return ()

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        return {}

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        pass


def precompute_twin(
    run: Path,
    model: CodeModel,
    corpus: tuple[str, ...],
    progress: Progress,
    batch: int | None = None,
    seed: int = 0,
    in_place: bool = False,
) -> Path:
    """Compute the twin of a run, going on where an interrupted attempt stopped; return its file.

    Args:
        run: the run file.
        model: the run's model.
        corpus: sources of the corpus; empty for those named in the run.
        progress: listener.
        batch: windows in one forward pass.
        seed: seed of the shuffling.
        in_place: shuffle the model itself.

    Raises:
        OtherModel: the model's weights are not those of the run.
        OtherCorpus: the corpus is not that of the run.
        KeyscopeError: from corpus, device or disk.
    """
    path, started = twin_path(run), datetime.now(UTC)
    if path.is_file():
        progress.note(f"{path} is complete")
        return path
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    check_weights(model.facts, manifest)
    with readable_disk_errors(run.parent, DISK_REMEDY):
        store = open_corpus(run, manifest, model.tokenizer, corpus, progress)
        twin = twin_of(model, seed, in_place).reading(manifest.settings.bos)
        state = run_state(analysis_folder(run), TWIN).resolve()
        state.mkdir(parents=True, exist_ok=True)
        with locked(state):
            storage = Storage(str(state))
            work = planned(storage, True) or new_work(
                storage,
                run_id=f"{manifest.run_id}.{TWIN}",
                started=started,
                source=ModelSource(manifest.model.model_id, manifest.model.revision, manifest.settings.dtype),
                outline=Outline.of(twin),
                corpus=manifest.corpus,
                settings=manifest.settings,
                batch=batch,
                store=store,
                tokens=os.path.relpath(store.folder.resolve(), state),
            )
            compute(LocalExecutor(twin), work, path, state / "scratch", progress)
            shutil.rmtree(state, ignore_errors=True)
    return path


def analyse_twin(
    run: Path,
    model: CodeModel,
    analyses: Sequence[Analysis],
    progress: Progress,
    batch: int | None = None,
    replace: bool = False,
    in_place: bool = False,
) -> list[Path]:
    """Compute analyses on a run's twin; return the files of those that twins have, none if the run has no twin.

    Args:
        run: the run file, not that of the twin.
        model: the run's model, of which a copy is shuffled.
        analyses: those that are not used on the run itself.
        progress: listener.
        batch: windows in one forward pass.
        replace: compute it anew if it exists with other settings.
        in_place: shuffle the model itself meanwhile, which saves the memory of a copy.

    Raises:
        KeyscopeError: as `analyse_together` does.
    """
    with open_run(run) as connection:
        manifest = read_twin(connection)
    of_twin = [each for each in analyses if each.kind in TWIN_KINDS]
    if manifest is None or not of_twin:
        return []
    seed = manifest.model.shuffled
    assert seed is not None, "a twin says how it was shuffled"
    with (
        as_twin(model, seed) if in_place else nullcontext(twin_of(model, seed)) as twin,
        open_subject(twin_path(run), twin, (), progress, batch) as subject,
    ):
        return analyse_together(subject, of_twin, replace)
