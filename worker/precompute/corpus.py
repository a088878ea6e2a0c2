"""A corpus made ready to be read by a model: gathered and tokenised once into a folder, and found there again."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from keyscope.contract.analyses.files import analysis_folder
from keyscope.contract.manifest import CorpusFacts, LanguageCounts, RunSettings
from keyscope.worker.corpus.gather import GatherSettings, NoFiles, gather
from keyscope.worker.precompute.presets import PROCEDURES, Procedure
from keyscope.worker.precompute.token_store import TokenStore, open_tokens, write_tokens
from keyscope.worker.progress import Progress

_FACTS = "corpus.json"


def prepare_corpus(
    folder: Path,
    sources: Sequence[str],
    settings: GatherSettings,
    tokenizer: PreTrainedTokenizerFast,
    procedure: Procedure,
    name: str | None,
    progress: Progress,
) -> CorpusFacts:
    """Gather and tokenise sources into `folder`, in place of what is there.

    Raises:
        KeyscopeError: what the sources have to say.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with progress.stage("gathering the corpus", None, "files") as advance:
        gathered = gather(sources, settings, folder / "gathered", lambda step: advance(1 if step.language else 0))
    for language, reason in gathered.missing.items():
        progress.note(f"going on without {language}: {reason}")
    with progress.stage("tokenising", len(gathered.entries), "files") as advance:
        write_tokens(folder, gathered.files(), tokenizer, advance, procedure)
    shutil.rmtree(folder / "gathered", ignore_errors=True)
    if not open_tokens(folder).n_files:
        raise NoFiles(f"no file of {', '.join(sources)} has {procedure.fewest_tokens} tokens: name another source")
    facts = CorpusFacts(
        name=name or ", ".join(_short_name(source) for source in sources),
        sources=list(gathered.sources),
        requested=list(sources),
        sha256=gathered.sha256,
        languages=_count(open_tokens(folder), procedure.window),
        skipped=gathered.skipped,
    )
    (folder / _FACTS).write_text(facts.model_dump_json(), "utf-8")
    return facts


def procedure_of(settings: RunSettings) -> Procedure:
    """How a run's settings have its corpus cut and read."""
    return replace(PROCEDURES[settings.preset], window=settings.window)


def gather_settings(settings: RunSettings, languages: Sequence[str]) -> GatherSettings:
    """What a run's settings have gathered."""
    return GatherSettings(
        languages=tuple(languages),
        files_per_language=settings.files_per_language,
        keep_duplicates=settings.keep_duplicates,
        keep_near_duplicates=PROCEDURES[settings.preset].near_duplicates,
        seed=settings.seed,
    )


def prepared_corpus(folder: Path) -> CorpusFacts | None:
    """What `prepare_corpus` put into a folder; None where it is not there or not complete."""
    facts = folder / _FACTS
    return CorpusFacts.model_validate_json(facts.read_text("utf-8")) if facts.is_file() else None


def keep_corpus(folder: Path, run: Path) -> None:
    """Move a prepared corpus to where the analyses of a run look for it."""
    place = corpus_folder(run)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    folder.replace(place)


def corpus_folder(run: Path) -> Path:
    """Where a run's prepared corpus is kept for its analyses; it can be removed, and is gathered again when needed."""
    return analysis_folder(run) / "corpus"


def _short_name(source: str) -> str:
    """What people call a source: `demo` with or without a limit, the last part of a path or of a hub name."""
    return "demo" if source.partition(":")[0] == "demo" else source.rstrip("/").rpartition("/")[2]


def _count(store: TokenStore, window: int) -> list[LanguageCounts]:
    counts = []
    for code, language in enumerate(store.language_names):
        lengths = store.lengths[store.languages == code]
        windows = int((-(-lengths // window)).sum())
        counts.append(LanguageCounts(language=language, files=len(lengths), windows=windows, tokens=int(lengths.sum())))
    return counts
