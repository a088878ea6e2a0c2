"""Running analyses from request to published file: steps kept on disk, cost measured, rows written."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.npyio import NpzFile

from keyscope.contract.analyses.digest import digests
from keyscope.contract.analyses.files import (
    analysis_files,
    analysis_folder,
    analysis_path,
    publish_analysis,
    read_analyses,
    write_analysis_manifest,
)
from keyscope.contract.analyses.kinds import KINDS, SCHEMA_VERSION
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.runfile import open_run
from keyscope.contract.tables import FileExists
from keyscope.contract.whole import file_sha256
from keyscope.worker.analysis.analysis import STEPS, Analysis, Arrays, Step
from keyscope.worker.analysis.subject import DISK_REMEDY, Subject
from keyscope.worker.analysis.together import read_together
from keyscope.worker.disk import readable_disk_errors
from keyscope.worker.locks import InUse, locked
from keyscope.worker.precompute.leftovers import sweep_locks
from keyscope.worker.precompute.provenance import LIBRARIES, code_commit, device_name
from keyscope.worker.precompute.windows import Batch, Cut, batches
from keyscope.worker.progress import Advance

_SECONDS = "_seconds"
TIMED_BATCHES = range(3, 13)
"""Bounds on the batches whose bare forward pass is timed; between them, as many as hold `TIMED_TOKENS`."""
TIMED_TOKENS = 8192


def analyse(subject: Subject, analysis: Analysis, replace: bool = False) -> Path:
    """Compute an analysis and publish it beside its run; resume where an interrupted one stopped.

    Raises:
        FileExists: one with other settings is there, and `replace` is not set.
        KeyscopeError: the analysis or the disk failed.
    """
    return analyse_together(subject, [analysis], replace)[0]


def analyse_together(subject: Subject, analyses: Sequence[Analysis], replace: bool = False) -> list[Path]:
    """The same for several analyses, whose shared steps take their coefficients from one forward pass.

    Raises:
        FileExists: one with other settings is there, and `replace` is not set.
        KeyscopeError: an analysis or the disk failed.
    """
    with readable_disk_errors(subject.path.parent, DISK_REMEDY):
        _sweep(subject.path)
    missing = [each for each in analyses if replace or not _is_published(subject, each)]
    with readable_disk_errors(subject.path.parent, DISK_REMEDY), ExitStack() as locks:
        works = []
        for analysis in missing:
            folder = _work(subject.path) / _work_name(analysis)
            folder.mkdir(parents=True, exist_ok=True)
            locks.enter_context(locked(folder))
            works.append(_Work(subject, analysis, folder))
            locks.callback(works[-1].done.close)
        for work in works:
            _run_own_steps(subject, work, before=True)
        _run_shared_steps(subject, works)
        per_token = bare_forward_seconds(subject) if works else 0.0
        for work in works:
            _run_own_steps(subject, work, before=False)
            others = [other.analysis.kind for other in works if other is not work]
            _publish(subject, work, others, per_token, replace)
            work.done.close()
            shutil.rmtree(work.folder, ignore_errors=True)
    return [_path(subject, each) for each in analyses]


class _Work:
    """An analysis under way: its steps, and the folder with the results of those that are done."""

    def __init__(self, subject: Subject, analysis: Analysis, folder: Path) -> None:
        self.analysis = analysis
        self.folder = folder
        self.started = datetime.now(UTC)
        self.steps = analysis.steps(subject)
        self.done = StepFiles(folder, [step.name for step in self.steps])
        if len(self.done):
            subject.progress.note(f"going on after {len(self.done)} of {len(self.steps)} steps of {analysis.kind}")

    @property
    def shared(self) -> list[Step]:
        """The steps that readers compute."""
        return [step for step in self.steps if step.shared]

    def own(self, before: bool) -> list[Step]:
        """The other steps, those before the shared ones or those after them."""
        ahead = list(takewhile(lambda step: not step.shared, self.steps))
        return ahead if before else [step for step in self.steps[len(ahead) :] if not step.shared]


def _run_own_steps(subject: Subject, work: _Work, before: bool) -> None:
    for unit, alike in groupby(work.own(before), lambda step: step.unit):
        _run_steps(subject, work.analysis, list(alike), unit, work.done)


def _run_shared_steps(subject: Subject, works: Sequence[_Work]) -> None:
    """Run the shared steps that are not done, those of one name together."""
    names = dict.fromkeys(step.name for work in works for step in work.shared)
    steps = {name: [(work, step) for work in works for step in work.shared if step.name == name] for name in names}
    todo = {name: [(work, step) for work, step in of_it if name not in work.done] for name, of_it in steps.items()}
    kinds = ", ".join(work.analysis.kind for work in works if work.shared)

    def size(some: Mapping[str, Sequence[tuple[_Work, Step]]]) -> int:
        files = [sorted({file for _, step in of_it for file in step.files}) for of_it in some.values()]
        return int(sum(subject.store.counted[of_it].sum() for of_it in files if of_it))

    if not any(todo.values()):
        return
    total = size(steps)
    with subject.progress.stage(f"analysing {kinds}", total, "tokens", total - size(todo)) as advance:
        for taking in todo.values():
            readers = [work.analysis.reader(subject, step, work.done) for work, step in taking]
            seconds = read_together(subject, readers, [step.files for _, step in taking], advance)
            for (work, step), reader, of_reader in zip(taking, readers, seconds, strict=True):
                work.done.keep(step, reader.arrays(), of_reader)


def _publish(subject: Subject, work: _Work, others: Sequence[str], per_token: float, replace: bool) -> None:
    """Write an analysis; `per_token` is the time of a bare forward pass in seconds."""
    analysis, steps = work.analysis, work.steps
    shared_with = list(others) if work.shared else []
    tokens = sum(step.tokens for step in steps)
    began = time.monotonic()
    with publish_analysis(subject.path, analysis.kind, analysis.part, replace) as connection:
        analysis.write(subject, connection, work.done)
        rows = digests(connection, KINDS[analysis.kind])
        manifest = AnalysisManifest(
            schema_version=SCHEMA_VERSION,
            kind=analysis.kind,
            part=analysis.part,
            run_id=subject.path.stem,
            weights_sha256=subject.manifest.model.weights_sha256,
            corpus_sha256=subject.manifest.corpus.sha256,
            settings=analysis.settings.model_dump(mode="json"),
            files=len({file for step in steps for file in step.files}),
            tokens=tokens,
            seconds=work.done.seconds + time.monotonic() - began,
            forward_seconds=per_token * tokens,
            shared_with=shared_with,
            device=device_name(subject.model.device),
            started=work.started,
            finished=datetime.now(UTC),
            code_version=metadata.version("keyscope"),
            code_commit=code_commit(),
            versions={name: metadata.version(name) for name in LIBRARIES},
            batch=subject.batch,
            threads=torch.get_num_threads(),
            split_sha256=split_sha256(subject),
            rests_on=rests_on(subject, analysis),
            rows=rows,
        )
        write_analysis_manifest(connection, manifest)
    if manifest.cost is not None:
        shared = f", forward passes shared with {', '.join(shared_with)}" if shared_with else ""
        subject.progress.note(
            f"{analysis.kind} cost: {manifest.cost:.1f} times one bare forward pass over {tokens:,} tokens{shared}"
        )
    subject.progress.note(f"published {_path(subject, analysis)}")


def rests_on(subject: Subject, analysis: Analysis) -> dict[str, str]:
    """The sha256 of the run file and of the analyses that an analysis reads, by `run`, `KIND` or `KIND.PART`."""
    read = {
        kind if part is None else f"{kind}.{part}": path
        for kind, part, path in analysis_files(subject.path)
        if kind in analysis.rests_on
    }
    return {name: file_sha256(path) for name, path in {"run": subject.path, **read}.items()}


def split_sha256(subject: Subject) -> str:
    """The sha256 of the parts that files belong to, and of their units."""
    units = subject.units
    return hashlib.sha256(units.of_file.tobytes() + units.parts.tobytes()).hexdigest()


class _Clock:
    """Seconds since its creation, less those in which `advance` let others use the model."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._began = time.monotonic()
        self._away = 0.0

    def advance(self, done: float) -> None:
        left = time.monotonic()
        self._advance(done)
        self._away += time.monotonic() - left

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began - self._away


class StepFiles(Mapping[str, Arrays]):
    """Results of steps as files of a folder; a file is renamed to its final name only when complete."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._done = [name for name in names if (folder / f"{name}.npz").is_file()]
        self._open: dict[str, NpzFile] = {}

    def keep(self, step: Step, arrays: Arrays, seconds: float) -> None:
        """Store the result of a step and the seconds it took."""
        path = self._folder / f"{step.name}.npz"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, **arrays, **{_SECONDS: np.array(seconds)})  # type: ignore[arg-type]
        part.replace(path)
        self._done.append(step.name)

    @property
    def seconds(self) -> float:
        """Seconds all steps took together, earlier attempts included."""
        return sum(float(self._archive(name)[_SECONDS]) for name in self._done)

    def __getitem__(self, name: str) -> Arrays:
        return _StepArrays(self._archive(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._done)

    def __len__(self) -> int:
        return len(self._done)

    def _archive(self, name: str) -> NpzFile:
        """The file of a step, kept open: finding out what is in it takes longer than reading a small array."""
        if name not in self._done:
            raise KeyError(name)
        if name not in self._open:
            self._open[name] = np.load(self._folder / f"{name}.npz")
        return self._open[name]

    def close(self) -> None:
        """Close the files."""
        for each in self._open.values():
            each.close()
        self._open.clear()


class _StepArrays(Mapping[str, npt.NDArray[Any]]):
    """The arrays of a step's file, each read on first access."""

    def __init__(self, archive: NpzFile) -> None:
        self._archive = archive
        self._read: dict[str, npt.NDArray[Any]] = {}
        self._names = [name for name in archive.files if name != _SECONDS]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._read:
            self._read[name] = self._archive[name]
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _run_steps(subject: Subject, analysis: Analysis, steps: Sequence[Step], unit: str, done: StepFiles) -> None:
    """Run those steps that are not done, which share a unit of progress, and store what each returns."""
    by_step = unit == STEPS
    todo = [step for step in steps if step.name not in done]
    if not todo:
        return

    def size(some: Sequence[Step]) -> int:
        return len(some) if by_step else sum(step.tokens for step in some)

    total = size(steps)
    of_twin = "" if subject.manifest.model.shuffled is None else " of the twin"
    with subject.progress.stage(f"analysing {analysis.kind}{of_twin}", total, unit, total - size(todo)) as advance:
        for step in todo:
            clock = _Clock(advance)
            arrays = analysis.run_step(subject, step, done, clock.advance)
            done.keep(step, arrays, clock.seconds)
            if by_step:
                advance(1)


@torch.inference_mode()
def bare_forward_seconds(subject: Subject) -> float:
    """Seconds per token of a forward pass without head or hooks, over batches spread through the corpus.

    The unit in which the cost of an analysis is reported: it makes machines and models comparable.
    """
    chosen = _some_batches(subject)
    total = sum(batch.n_tokens for batch in chosen)
    with subject.progress.stage("timing a bare forward pass", total, "tokens") as advance:
        chosen[0].run(subject.model)
        subject.model.wait()
        seconds = 0.0
        for batch in chosen:
            advance(0)
            began = time.monotonic()
            batch.run(subject.model)
            subject.model.wait()
            seconds += time.monotonic() - began
            advance(batch.n_tokens)
    return seconds / total


def _some_batches(subject: Subject) -> list[Batch]:
    store, facts, cut = subject.store, subject.model.facts, Cut.of(subject.manifest.settings)
    some = np.flatnonzero(store.counted)

    def batch_at(start: int) -> Batch:
        files = (np.arange(subject.batch) + start) % len(some)
        return next(batches(store, some[files].tolist(), cut, subject.batch, facts.bos, subject.model.device))

    count = min(max(TIMED_TOKENS // batch_at(0).n_tokens, min(TIMED_BATCHES)), max(TIMED_BATCHES))
    return [batch_at(int(start)) for start in np.linspace(0, len(some), count, endpoint=False)]


def _is_published(subject: Subject, analysis: Analysis) -> bool:
    """Whether the analysis is there with these settings.

    Raises:
        FileExists: it is there with others, or cannot be used.
    """
    path = _path(subject, analysis)
    if not path.is_file():
        return False
    if _usable_settings(subject.path, analysis) == analysis.settings.model_dump(mode="json"):
        subject.progress.note(f"{path} is complete")
        return True
    raise FileExists(
        f"{path} exists with other settings, or cannot be used: add --replace to compute it anew, or move it away"
    )


def _path(subject: Subject, analysis: Analysis) -> Path:
    return analysis_path(subject.path, analysis.kind, analysis.part)


def _usable_settings(run: Path, analysis: Analysis) -> dict[str, Any] | None:
    """The settings of the published analysis; None if pages cannot use it."""
    with open_run(run) as connection:
        found = {(each.kind, each.part): each.settings for each in read_analyses(connection)}
    return found.get((analysis.kind, analysis.part))


def _work(run: Path) -> Path:
    """Where unfinished analyses of a run keep their steps, each in a folder with a lock."""
    return analysis_folder(run) / ".work"


def _work_name(analysis: Analysis) -> str:
    return _name_of(analysis.kind, analysis.part, analysis.settings.model_dump(mode="json"))


def _name_of(kind: str, part: str | None, settings: object) -> str:
    identity = json.dumps([SCHEMA_VERSION, part, settings], sort_keys=True)
    return f"{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"


def _sweep(run: Path) -> None:
    """Remove the steps of published analyses whose process died before it could."""
    with open_run(run) as connection:
        published = read_analyses(connection)
    for each in published:
        work = _work(run) / _name_of(each.kind, each.part, each.settings)
        # one that is being replaced has newer steps
        if work.is_dir() and work.stat().st_mtime <= analysis_path(run, each.kind, each.part).stat().st_mtime:
            with suppress(InUse), locked(work):
                shutil.rmtree(work, ignore_errors=True)
    sweep_locks(_work(run))
