"""One precompute from request to run file: gather, plan, run shards, merge, verify, publish."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from keyscope.contract.manifest import CorpusFacts, Manifest, RunSettings, Task, Verification
from keyscope.contract.runfile import SCHEMA_VERSION, create, write_manifest
from keyscope.contract.tables import SUFFIX, FileExists
from keyscope.worker.disk import readable_disk_errors
from keyscope.worker.locks import locked
from keyscope.worker.model.code_model import CodeModel
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
from keyscope.worker.precompute.errors import UnfinishedRun, VerificationFailed, WindowTooLong
from keyscope.worker.precompute.estimate import estimate
from keyscope.worker.precompute.partial import completed
from keyscope.worker.precompute.plan import Shard, ShardWork, plan_shards
from keyscope.worker.precompute.pool import run_shards
from keyscope.worker.precompute.presets import check_preset
from keyscope.worker.precompute.provenance import provenance
from keyscope.worker.precompute.publish import Publisher
from keyscope.worker.precompute.token_store import TokenStore, open_tokens
from keyscope.worker.precompute.verify import verify
from keyscope.worker.precompute.windows import for_task
from keyscope.worker.progress import Progress

DEFAULT_TASK: Task = "encode"
"""What an encoder–decoder is given where nobody says."""
VERIFIED_KEYS = 50
"""Keys recomputed before a run is published, one trigger each."""
FILES_PER_SHARD = 64


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
    workers: int = 1
    files_per_shard: int = FILES_PER_SHARD
    resume: bool = False


def precompute(request: PrecomputeRequest, progress: Progress) -> Path:
    """Compute a run and publish it as `OUT/MODEL-HASH.duckdb`; the hash is over model, corpus and settings.

    After an interruption at any moment, the same request with `resume` continues from the complete shards and ends with
    the same rows as an uninterrupted run.

    Raises:
        FileExists: the run exists; with `resume` its path is returned instead.
        UnfinishedRun: an earlier attempt was interrupted and `resume` is not set.
        PresetUnfit: the preset does not apply to such a model.
        OutputUnwritable: the disk is full or cannot be written.
        VerificationFailed: recomputed coefficients differ; nothing is published.
        KeyscopeError: the model, the corpus or the device cannot be used.
    """
    loaded = load_model(request.source)
    if loaded.facts.framing is not None and request.settings.task is None:
        request = replace(request, settings=request.settings.model_copy(update={"task": DEFAULT_TASK}))
        progress.note("an encoder–decoder: reading its encoder; --task denoise or continue reads its decoder")
    model = loaded.reading(request.settings.bos, request.settings.task)
    _check_window(model, request.settings.window)
    check_preset(model, request.settings.preset)
    with readable_disk_errors(request.out, "free space or choose another --out, then continue with --resume"):
        path = _Run(request, model, progress).compute()
        note_model(path, request.source.model_id, model.facts.weights_sha256)
    return path


@dataclass(frozen=True)
class Computation:
    """What to compute a run from."""

    model: CodeModel
    source: ModelSource
    """Where further processes load the model from."""
    settings: RunSettings
    store: TokenStore
    batch: int
    progress: Progress
    workers: int = 1
    files_per_shard: int = FILES_PER_SHARD

    def publish(self, path: Path, state: Path, resume: bool, manifest: Callable[[], Manifest]) -> None:
        """Compute the run and publish it at `path`.

        Args:
            path: the run file.
            state: folder of what is unfinished; this process has locked it.
            resume: whether to go on with what is there.
            manifest: makes the manifest, without its verification, when everything is computed.

        Raises:
            UnfinishedRun: an earlier attempt was interrupted and `resume` is not set.
            VerificationFailed: recomputed coefficients differ; nothing is published.
        """
        folder = leftovers.shards_folder(state)
        shards = self._plan(state, resume)
        self.progress.note(estimate(self.model, self.store, self.settings, self.batch))
        work = ShardWork(self.source, self.settings, self.batch, self.workers, self.store.folder, folder)
        run_shards(self.model, work, self.store, shards, self.progress)
        with create(path) as connection:
            publisher = Publisher(connection, self.model, self.store, shards, folder, self.settings)
            with self.progress.stage("writing the run file", len(self.model.layers), "layers") as advance:
                publisher.write(advance)
            made = manifest()
            verification = self._verify(connection, made)
            write_manifest(connection, made.model_copy(update={"verification": verification}))
        self.progress.note(f"published {path}")

    def _plan(self, state: Path, resume: bool) -> list[Shard]:
        """Plan the shards; a resumed run cuts them where the interrupted attempt did."""
        planned = leftovers.is_planned(state)
        if planned and not resume:
            raise UnfinishedRun(
                f"an earlier precompute of this run was interrupted: continue with --resume, or remove {state} to start over"
            )
        if not planned:
            leftovers.write_plan(state, self.files_per_shard, self.store.folder)
        shards = plan_shards(self.store, leftovers.read_plan(state))
        done = len(list(completed(leftovers.shards_folder(state), len(shards))))
        if done:
            self.progress.note(f"continuing after {done} of {len(shards)} shards")
        return shards

    def _verify(self, connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> Verification:
        result = verify(connection, manifest, self.model.model, VERIFIED_KEYS, 1, self.settings.seed, self.progress)
        if not result.passed:
            raise VerificationFailed(
                f"{result.keys} random keys recomputed by plain transformers differ by up to {result.largest_error:.3g}, more than "
                f"the {result.tolerance:.3g} allowed for {self.settings.dtype}: the run is not published"
            )
        return result


class _Run:
    """One precompute in progress."""

    def __init__(self, request: PrecomputeRequest, model: CodeModel, progress: Progress) -> None:
        self.request = request
        self.model = model
        self.progress = progress
        self.started = datetime.now(UTC)
        self.settings = request.settings.model_copy(update={"dtype": str(model.dtype).removeprefix("torch.")})
        self.batch = request.batch or model.default_batch

    def compute(self) -> Path:
        out, key = self.request.out, self._corpus_key()
        leftovers.sweep(out)
        state = leftovers.corpus_state(out, key)
        if self.request.resume and not state.is_dir() and (finished := self._finished(key)) is not None:
            self.progress.note(f"{finished} is complete; leave out --resume to read its corpus anew")
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
                self.progress.note(f"{path} is complete")
                return path
            with locked(leftovers.run_state(out, run_id)):
                computation = Computation(
                    model=self.model,
                    source=self.request.source,
                    settings=self.settings,
                    store=for_task(open_tokens(state), self.model, self.settings),
                    batch=self.batch,
                    progress=self.progress,
                    workers=self.request.workers,
                    files_per_shard=self.request.files_per_shard,
                )
                computation.publish(
                    path, leftovers.run_state(out, run_id), self.request.resume, lambda: self._manifest(run_id, corpus)
                )
                leftovers.clear(out, run_id, state)
        return path

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
            gather_settings(self.settings, self.request.languages),
            self.model.tokenizer,
            self.settings,
            self.request.corpus_name,
            self.progress,
            key,
        )

    def _corpus_key(self) -> str:
        """A name for the gathered corpus before its content is known, by which a resumed run finds it."""
        return _hash(
            {
                "sources": [_place(source) for source in self.request.corpus],
                "version": self.request.corpus_version,
                "languages": self.request.languages,
                "files_per_language": self.settings.files_per_language,
                "tokens_per_file": self.settings.tokens_per_file,
                "keep_duplicates": self.settings.keep_duplicates,
                "keep_boilerplate": self.settings.keep_boilerplate,
                "preset": self.settings.preset,
                "window": self.settings.window,
                "burn_in": self.settings.burn_in,
                "seed": self.settings.seed,
                "tokenizer": self.model.facts.tokenizer_sha256,
            }
        )

    def _run_id(self, corpus: CorpusFacts) -> str:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model.facts.model_id.rstrip("/").rsplit("/", 1)[-1])
        identity = {
            "schema": SCHEMA_VERSION,
            "weights": self.model.facts.weights_sha256,
            "tokenizer": self.model.facts.tokenizer_sha256,
            "corpus": corpus.sha256,
            "settings": self.settings.model_dump(exclude=None if self.settings.task else {"task"}),
        }
        return f"{slug}-{_hash(identity)}"

    def _manifest(self, run_id: str, corpus: CorpusFacts) -> Manifest:
        return Manifest(
            schema_version=SCHEMA_VERSION,
            run_id=run_id,
            model=self.model.facts,
            corpus=corpus,
            settings=self.settings,
            provenance=provenance(self.model.device, self.batch, self.request.workers, self.started),
        )


def _check_window(model: CodeModel, window: int) -> None:
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
