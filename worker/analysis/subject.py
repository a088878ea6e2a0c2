"""What an analysis works on: a run with its model and corpus, each checked to be the run's own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
from transformers import PreTrainedTokenizerFast

from keyscope.contract.analyses.files import analysis_folder
from keyscope.contract.manifest import Manifest
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.worker.analysis.units import Units, units_of
from keyscope.worker.concepts.matching import Matching
from keyscope.worker.disk import readable_disk_errors
from keyscope.worker.locks import locked
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.local import place_of_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute import leftovers
from keyscope.worker.precompute.corpus import (
    corpus_folder,
    gather_settings,
    prepare_corpus,
    prepared_corpus,
)
from keyscope.worker.precompute.errors import OtherCorpus, check_weights
from keyscope.worker.precompute.token_store import TokenStore, open_tokens
from keyscope.worker.precompute.windows import for_task
from keyscope.worker.progress import Progress

DISK_REMEDY = "free some space or make it writable, then give the command again"


@dataclass(frozen=True)
class Subject:
    """A run opened for analysis."""

    path: Path
    manifest: Manifest
    connection: duckdb.DuckDBPyConnection
    """The run file with the analyses already beside it, read-only."""
    model: CodeModel
    store: TokenStore
    matching: Matching
    batch: int
    """Windows in one forward pass."""
    progress: Progress

    @cached_property
    def units(self) -> Units:
        """The units of the corpus and the parts they are in."""
        return units_of(self.store)


def source_of_run(named: str | None, run: Path, device: str, progress: Progress) -> ModelSource:
    """What to load to compute more of a run: the model that somebody named, else its own, in the run's dtype.

    Raises:
        RunFileError: the run cannot be read.
        KeyscopeError: its model is not found; see `model_of_run`.
    """
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    place = place_of_model(named, run, manifest.model, progress)
    return ModelSource(place, manifest.model.revision, manifest.settings.dtype, device)


@contextmanager
def open_subject(
    path: Path,
    model: CodeModel | ModelSource,
    corpus: tuple[str, ...],
    progress: Progress,
    batch: int | None = None,
) -> Iterator[Subject]:
    """Open a run together with its model and its corpus.

    Args:
        path: the run file.
        model: a loaded model, or where to load it from.
        corpus: sources of the corpus; empty for those named in the run.
        progress: listener.
        batch: windows in one forward pass.

    Raises:
        OtherModel: the model's weights are not those of the run.
        OtherCorpus: the corpus is not that of the run.
        OutputUnwritable: the corpus cannot be kept beside the run.
        KeyscopeError: loading the model or reading the sources failed.
    """
    connection = open_run(path)
    try:
        manifest = read_manifest(connection)
        loaded = load_model(model) if isinstance(model, ModelSource) else model
        check_weights(loaded.facts, manifest)
        with readable_disk_errors(path.parent, DISK_REMEDY):
            store = open_corpus(path, manifest, loaded.tokenizer, corpus, progress)
        size = batch or loaded.default_batch
        reading = loaded.reading(manifest.settings.bos, manifest.settings.task)
        store = for_task(store, reading, manifest.settings)
        with Matching() as matching:
            yield Subject(path, manifest, connection, reading, store, matching, size, progress)
    finally:
        connection.close()


def open_corpus(
    path: Path, manifest: Manifest, tokenizer: PreTrainedTokenizerFast, sources: tuple[str, ...], progress: Progress
) -> TokenStore:
    """The tokenised corpus of a run: the copy kept beside it, or gathered anew.

    Raises:
        OtherCorpus: what was gathered is not the corpus of the run.
    """
    leftovers.sweep(path.parent)
    folder = corpus_folder(path)
    analysis_folder(path).mkdir(parents=True, exist_ok=True)
    leftovers.sweep_locks(analysis_folder(path))
    with locked(folder):
        facts = prepared_corpus(folder)
        if facts is None:
            asked = sources or tuple(manifest.corpus.requested)
            if not asked:
                raise OtherCorpus(
                    f"the run {path.stem} does not record where its corpus came from: name it with --corpus"
                )
            facts = prepare_corpus(
                folder,
                asked,
                gather_settings(manifest.settings, manifest.languages),
                tokenizer,
                manifest.settings,
                manifest.corpus.name,
                progress,
            )
        if facts.sha256 != manifest.corpus.sha256:
            shutil.rmtree(folder)
            raise OtherCorpus(
                f"the corpus read from {', '.join(facts.requested)} has sha256 {facts.sha256[:12]}, but the run "
                f"{path.stem} was computed over {manifest.corpus.sha256[:12]}: name the run's corpus with --corpus"
            )
        return open_tokens(folder)
