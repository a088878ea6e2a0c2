"""One precompute from request to run file: gather, plan, run shards, merge, verify, publish."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from keyscope.contract.manifest import CorpusFacts, RunSettings, Task
from keyscope.contract.runfile import SCHEMA_VERSION
from keyscope.contract.tables import SUFFIX, FileExists
from keyscope.contract.whole import write_whole
from keyscope.worker.disk import readable_disk_errors
from keyscope.worker.locks import locked
from keyscope.worker.model.load import load_model
from keyscope.worker.model.local import note_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute import leftovers
from keyscope.worker.precompute.corpus import (
    corpus_folder,
    gather_settings,
    prepare_corpus,
    prepared_corpus,
)
from keyscope.worker.precompute.errors import UnfinishedRun, WindowTooLong
from keyscope.worker.precompute.executors.executor import Executor, Outline, run_shards
from keyscope.worker.precompute.executors.local import LocalExecutor
from keyscope.worker.precompute.plan import Plan, shard_tokens, shards_by_tokens
from keyscope.worker.precompute.presets import check_preset
from keyscope.worker.precompute.token_store import TokenStore, open_tokens
from keyscope.worker.precompute.work import PLAN, Work, stored
from keyscope.worker.progress import Progress
from keyscope.worker.storage import Storage, at_once

DEFAULT_TASK: Task = "encode"
"""What an encoder–decoder is given where nobody says."""
ExecutorName = Literal["local", "ray"]
"""Where shards are computed: on this machine or on a Ray cluster."""


@dataclass(frozen=True, slots=True)
class PrecomputeRequest:
    """What to compute and where to publish it."""

    source: ModelSource
    corpus: tuple[str, ...]
    out: Path
    settings: RunSettings
    languages: tuple[str, ...]
    corpus_name: str | None = None
    corpus_version: str = ""
    """Tells versions of sources apart that are requested alike; a resumed run reads no other version."""
    batch: int | None = None
    workers: int | None = None
    """Processes, each with its own model; by default one here, and on a cluster one a GPU or node."""
    shard_tokens: int | None = None
    """About how many tokens a shard has; by default a number that suits the model."""
    resume: bool = False
    executor: ExecutorName = "local"
    address: str = "auto"
    """Of the Ray cluster."""
    work: str | None = None
    """URL of the folder for what is unfinished, which all nodes reach; by default `.work` in `out`."""
    scratch: Path | None = None
    """Folder on each machine for what is not finished; by default in `work` if that is on a disk."""
    mixed_devices: bool = False
    """Whether shards may be computed on devices of several kinds."""


def precompute(request: PrecomputeRequest, progress: Progress) -> Path:
    """Compute a run and publish it as `OUT/MODEL-HASH.duckdb`; the hash is over model, corpus and settings.

    After an interruption at any moment, the same request with `resume` continues from the complete shards and ends with
    the same rows as an uninterrupted run.

    Raises:
        FileExists: the run exists; with `resume` its path is returned instead.
        UnfinishedRun: an earlier attempt was interrupted and `resume` is not set.
        PresetUnfit: the preset does not apply to such a model.
        OutputUnwritable: the disk is full or cannot be written.
        ShardsFailed: some shards cannot be computed; the others are done.
        VerificationFailed: recomputed coefficients differ; nothing is published.
        KeyscopeError: the model, the corpus, the device or the cluster cannot be used.
    """
    with _ready(request, progress) as run:
        path = run.compute()
        note_model(path, request.source.model_id, run.outline.facts.weights_sha256)
    return path


def plan(request: PrecomputeRequest, progress: Progress) -> str:
    """Gather the corpus and plan a run without computing it; return the URL of the plan, for `keyscope shards`.

    Raises:
        KeyscopeError: as `precompute` does.
    """
    with _ready(request, progress) as run:
        return run.plan()


@contextmanager
def _ready(request: PrecomputeRequest, progress: Progress) -> Iterator["_Run"]:
    """A request with its model loaded and checked against it."""
    with (
        _executor(request, progress) as executor,
        readable_disk_errors(request.out, "free space or choose another --out, then continue with --resume"),
    ):
        outline = executor.reading(request.settings.bos, request.settings.task)
        if outline.facts.framing is not None and request.settings.task is None:
            request = replace(request, settings=request.settings.model_copy(update={"task": DEFAULT_TASK}))
            progress.note("an encoder–decoder: reading its encoder; --task denoise or continue reads its decoder")
            outline = executor.reading(request.settings.bos, request.settings.task)
        _check_window(outline, request.settings.window)
        check_preset(outline.facts, request.settings.preset)
        yield _Run(request, executor, outline, progress)


@contextmanager
def _executor(request: PrecomputeRequest, progress: Progress) -> Iterator[Executor]:
    if request.executor == "local":
        yield LocalExecutor(load_model(request.source), request.source, request.workers or 1)
        return
    from keyscope.worker.precompute.executors.cluster import ray_executor  # needs Ray, which few install

    with ray_executor(
        request.source, request.address, request.workers, request.scratch, request.mixed_devices, progress
    ) as executor:
        yield executor


def compute(
    executor: Executor, work: Work, path: Path, scratch: Path, progress: Progress, mixed_devices: bool = False
) -> None:
    """Compute a planned run and publish it at `path`.

    Args:
        executor: has the plan's model, as the run reads it.
        work: the planned run.
        path: the run file.
        scratch: folder on this machine for what is not finished; removed at the end.
        progress: listener.
        mixed_devices: whether shards may be computed on devices of several kinds.

    Raises:
        ShardsFailed: some shards cannot be computed; the others are done.
        VerificationFailed: recomputed coefficients differ; nothing is published.
    """
    with executor.session(work, scratch, progress) as session:
        progress.note(session.estimate())
        run_shards(session, work, work.plan.shards, progress, scratch)
        session.publish(path, mixed_devices)
    shutil.rmtree(scratch, ignore_errors=True)


def planned(storage: Storage, resume: bool) -> Work | None:
    """The run that an interrupted attempt has planned in a folder, cut into shards as it did; None if there is none.

    Raises:
        UnfinishedRun: there is one, and `resume` is not set; or it cannot be used.
    """
    found = Work.open(storage)
    if found is not None and not resume:
        raise UnfinishedRun(
            f"an earlier precompute of this run was interrupted: continue with --resume, or remove {storage.url} to start over"
        )
    return found


class _Run:
    """One precompute in progress."""

    def __init__(self, request: PrecomputeRequest, executor: Executor, outline: Outline, progress: Progress) -> None:
        self.request = request
        self.outline = outline
        self._executor = executor
        self._progress = progress
        self._started = datetime.now(UTC)
        self._settings = request.settings.model_copy(update={"dtype": outline.dtype})

    def compute(self) -> Path:
        """Compute and publish the run; return its file."""
        out, key = self.request.out, self._corpus_key()
        leftovers.sweep(out)
        state = leftovers.corpus_state(out, key)
        if self.request.resume and not state.is_dir() and (finished := self._finished(key)) is not None:
            self._progress.note(f"{finished} is complete; leave out --resume to read its corpus anew")
            return finished
        state.parent.mkdir(parents=True, exist_ok=True)
        with locked(state):
            corpus = self._prepare_corpus(state, key)
            run_id = self._run_id(corpus)
            path = out / f"{run_id}{SUFFIX}"
            if path.exists():
                leftovers.place_corpus(state, path)
                if not self.request.resume:
                    raise FileExists(
                        f"{path} is already there: it was computed with the same model, corpus and settings"
                    )
                self._progress.note(f"{path} is complete")
                return path
            folder = leftovers.run_state(out, run_id)
            with locked(folder):
                work = self._planned(run_id, corpus, state)
                scratch = self.request.scratch / run_id if self.request.scratch else folder / "scratch"
                compute(self._executor, work, path, scratch, self._progress, self.request.mixed_devices)
                leftovers.clear(out, run_id, state)
                if not _is_at(work.storage, folder):
                    work.sweep()
        return path

    def plan(self) -> str:
        """Plan the run; return the plan's URL."""
        out, key = self.request.out, self._corpus_key()
        state = leftovers.corpus_state(out, key)
        state.parent.mkdir(parents=True, exist_ok=True)
        with locked(state):
            corpus = self._prepare_corpus(state, key)
            run_id = self._run_id(corpus)
            with locked(leftovers.run_state(out, run_id)):
                work = self._planned(run_id, corpus, state)
        self._progress.note(f"planned {len(work.plan.shards)} shards")
        return f"{work.storage.url}/{PLAN}"

    def _planned(self, run_id: str, corpus: CorpusFacts, tokens: Path) -> Work:
        """The run as an interrupted attempt has planned it, or planned now with its corpus where all nodes reach it."""
        local = leftovers.run_state(self.request.out, run_id).absolute()
        storage = Storage(f"{self.request.work.rstrip('/')}/{run_id}" if self.request.work else str(local))
        found = planned(storage, self.request.resume)
        if found is not None:
            return found
        elsewhere = not _is_at(storage, local)
        work = new_work(
            storage,
            run_id=run_id,
            started=self._started,
            source=self.request.source,
            outline=self.outline,
            corpus=corpus,
            settings=self._settings,
            batch=self.request.batch,
            store=open_tokens(tokens),
            tokens=f"../{tokens.name}",
            copied=elsewhere,
            size=self.request.shard_tokens,
        )
        if elsewhere:  # also here, which tells other commands that the corpus is being read
            write_whole(local / PLAN, work.plan.document.decode())
        return work

    def _finished(self, corpus_key: str) -> Path | None:
        """The latest finished run of this request, found by the corpus that is kept beside it."""
        for path in sorted(self.request.out.glob(f"*{SUFFIX}"), key=lambda each: each.stat().st_mtime, reverse=True):
            kept = prepared_corpus(corpus_folder(path), corpus_key)
            if kept is not None and self._run_id(kept) == path.name.removesuffix(SUFFIX):
                return path
        return None

    def _prepare_corpus(self, folder: Path, key: str) -> CorpusFacts:
        """Gather and tokenise once; a resumed run reads what the interrupted one gathered."""
        found = prepared_corpus(folder, key) if self.request.resume else None
        if found is not None:
            return found
        return prepare_corpus(
            folder,
            self.request.corpus,
            gather_settings(self._settings, self.request.languages),
            self.outline.tokenizer,
            self._settings,
            self.request.corpus_name,
            self._progress,
            key,
        )

    def _corpus_key(self) -> str:
        """A name for the gathered corpus before its content is known, by which a resumed run finds it."""
        return _hash(
            {
                "sources": [_place(source) for source in self.request.corpus],
                "version": self.request.corpus_version,
                "languages": self.request.languages,
                "files_per_language": self._settings.files_per_language,
                "tokens_per_file": self._settings.tokens_per_file,
                "keep_duplicates": self._settings.keep_duplicates,
                "keep_boilerplate": self._settings.keep_boilerplate,
                "preset": self._settings.preset,
                "window": self._settings.window,
                "burn_in": self._settings.burn_in,
                "seed": self._settings.seed,
                "tokenizer": self.outline.facts.tokenizer_sha256,
            }
        )

    def _run_id(self, corpus: CorpusFacts) -> str:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", self.outline.facts.model_id.rstrip("/").rsplit("/", 1)[-1])
        identity = {
            "schema": SCHEMA_VERSION,
            "weights": self.outline.facts.weights_sha256,
            "tokenizer": self.outline.facts.tokenizer_sha256,
            "corpus": corpus.sha256,
            "settings": self._settings.model_dump(exclude=None if self._settings.task else {"task"}),
        }
        return f"{slug}-{_hash(identity)}"


def new_work(
    storage: Storage,
    *,
    run_id: str,
    started: datetime,
    source: ModelSource,
    outline: Outline,
    corpus: CorpusFacts,
    settings: RunSettings,
    batch: int | None,
    store: TokenStore,
    tokens: str,
    copied: bool = False,
    size: int | None = None,
) -> Work:
    """Plan a run.

    Args:
        storage: folder of the run's unfinished state.
        run_id: its name.
        started: when its computation was begun.
        source: where processes load the model from.
        outline: the model, as the run reads it.
        corpus: the facts of the corpus.
        settings: the run's.
        batch: windows in one forward pass.
        store: the tokenised corpus.
        tokens: the way to its folder from `storage`.
        copied: whether to copy it there.
        size: about how many tokens a shard has.
    """
    files = {}
    if copied:
        there = storage.beside(tokens)
        there.copy(store.folder, "")
        if there.folder is None:
            paths = [path for path in sorted(store.folder.iterdir()) if path.is_file()]
            files = dict(zip([path.name for path in paths], at_once(stored, paths), strict=True))
    work = Work(
        Plan(
            run_id=run_id,
            started=started,
            source=_place(source.model_id),
            revision=source.revision,
            model=outline.facts,
            corpus=corpus,
            settings=settings,
            batch=batch or outline.default_batch,
            tokens=tokens,
            token_files=files,
            shards=shards_by_tokens(store, size or shard_tokens(outline.facts, outline.device)),
        ),
        storage,
    )
    work.begin()
    return work


def _is_at(storage: Storage, folder: Path) -> bool:
    return storage.folder is not None and storage.folder.resolve() == folder.resolve()


def _check_window(model: Outline, window: int) -> None:
    longest = model.context_length - len(model.facts.bos)
    if window > longest:
        raise WindowTooLong(
            f"a window of {window} tokens is too long: {model.facts.model_id} attends to at most {longest}; choose a smaller --window"
        )


def _place(source: str) -> str:
    """A source independent of the current directory, in which a relative path would mean another place."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _hash(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
