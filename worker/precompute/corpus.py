"""Preparing a corpus for a model: gathered and tokenised once into a folder, and found there again."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from keyscope.contract.analyses.files import analysis_folder
from keyscope.contract.manifest import CorpusFacts, LanguageCounts, RunSettings
from keyscope.contract.texts import counted
from keyscope.contract.twin import trained_run
from keyscope.contract.whole import write_whole
from keyscope.worker.corpus.gather import GatherSettings, NoFiles, gather
from keyscope.worker.precompute.presets import PROCEDURES
from keyscope.worker.precompute.token_store import TokenStore, open_tokens, write_tokens
from keyscope.worker.precompute.windows import Cut
from keyscope.worker.progress import Progress

_FACTS = "corpus.json"
_REQUEST = "request"
_LISTED = 20
"""Projects named in the manifest, by language."""


def prepare_corpus(
    folder: Path,
    sources: Sequence[str],
    settings: GatherSettings,
    tokenizer: PreTrainedTokenizerFast,
    run: RunSettings,
    name: str | None,
    progress: Progress,
    request: str = "",
) -> CorpusFacts:
    """Gather and tokenise sources into `folder`, replacing its content; `request` is kept with it.

    Raises:
        KeyscopeError: a source cannot be read, or no file could be kept.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    procedure = replace(PROCEDURES[run.preset], window=run.window, longest_file=run.tokens_per_file)
    with progress.stage("gathering the corpus", None, "files") as advance:
        gathered = gather(sources, settings, folder / "gathered", lambda step: advance(1 if step.language else 0))
    if gathered.skipped:
        progress.note(f"left out: {counted(gathered.skipped)}")
    for language, reason in gathered.missing.items():
        progress.note(f"going on without {language}: {reason}")
    with progress.stage("tokenising", len(gathered.entries), "files") as advance:
        write_tokens(folder, gathered.files(), tokenizer, advance, procedure, gathered.repeated)
    shutil.rmtree(folder / "gathered", ignore_errors=True)
    if not open_tokens(folder).n_files:
        raise NoFiles(
            f"no file of {', '.join(sources)} has at least {procedure.fewest_tokens} tokens: choose another source"
        )
    facts = CorpusFacts(
        name=name or ", ".join(_short_name(source) for source in sources),
        sources=list(gathered.sources),
        requested=list(sources),
        sha256=gathered.sha256,
        languages=_count(open_tokens(folder), run),
        skipped=gathered.skipped,
    )
    write_whole(folder / _REQUEST, request)
    write_whole(folder / _FACTS, facts.model_dump_json())
    return facts


def gather_settings(settings: RunSettings, languages: Sequence[str]) -> GatherSettings:
    """The settings for gathering a run's corpus."""
    return GatherSettings(
        languages=tuple(languages),
        files_per_language=settings.files_per_language,
        keep_duplicates=settings.keep_duplicates,
        keep_near_duplicates=PROCEDURES[settings.preset].near_duplicates,
        keep_boilerplate=settings.keep_boilerplate,
        seed=settings.seed,
    )


def prepared_corpus(folder: Path, request: str | None = None) -> CorpusFacts | None:
    """The facts of a corpus prepared in `folder`; None if it is missing, incomplete, damaged or of another request."""
    try:
        if request is not None and (folder / _REQUEST).read_text("utf-8") != request:
            return None
        return CorpusFacts.model_validate_json((folder / _FACTS).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def keep_corpus(folder: Path, run: Path) -> None:
    """Move a prepared corpus to where a run's analyses look for it."""
    place = corpus_folder(run)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    shutil.move(folder, place)  # perhaps to another disk


def corpus_folder(run: Path) -> Path:
    """Folder of the prepared corpus of a run and of its twin; it may be deleted, and is gathered again when needed."""
    return analysis_folder(trained_run(run)) / "corpus"


def _short_name(source: str) -> str:
    """A source's name for titles: `demo`, or the last part of a path or hub name."""
    return "demo" if source.partition(":")[0] == "demo" else source.rstrip("/").rpartition("/")[2]


def _projects(store: TokenStore, files: npt.NDArray[np.bool_]) -> Counter[str]:
    """Tokens of each project in some files."""
    names = store.files().column("project").to_pylist()
    found: Counter[str] = Counter()
    for file in np.flatnonzero(files):
        found[names[file]] += int(store.lengths[file])
    return found


def _count(store: TokenStore, run: RunSettings) -> list[LanguageCounts]:
    counts = []
    for code, language in enumerate(store.language_names):
        files = store.languages == code
        projects = _projects(store, files)
        lengths, marked = store.lengths[files], int((store.lengths - store.counted)[files].sum())
        counts.append(
            LanguageCounts(
                language=language,
                files=len(lengths),
                windows=int(Cut.of(run).count(lengths).sum()),
                tokens=int(lengths.sum()),
                boilerplate=None if run.keep_boilerplate else marked,
                projects=len(projects),
                largest_projects=dict(projects.most_common(_LISTED)),
            )
        )
    return counts
