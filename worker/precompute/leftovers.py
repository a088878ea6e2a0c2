"""What a finished precompute leaves: its state is removed and its corpus moved beside the run, if need be by the next command."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from keyscope.contract.tables import SUFFIX
from keyscope.worker.locks import InUse, locked
from keyscope.worker.precompute.corpus import keep_corpus
from keyscope.worker.precompute.work import PLAN

WORK = ".work"
"""Folder of unfinished state in a folder of runs: `RUN/` and `corpus-KEY/`, each with a lock."""
_CORPUS = "corpus-"


def corpus_state(out: Path, key: str) -> Path:
    """Folder of a corpus that is being gathered or read."""
    return out / WORK / f"{_CORPUS}{key}"


def run_state(out: Path, run_id: str) -> Path:
    """Folder of the shards of an unfinished run."""
    return out / WORK / run_id


def clear(out: Path, run_id: str, corpus: Path) -> None:
    """Clear up after a finished run whose state and corpus this process has locked."""
    place_corpus(corpus, out / f"{run_id}{SUFFIX}")
    shutil.rmtree(run_state(out, run_id), ignore_errors=True)


def place_corpus(corpus: Path, run: Path) -> None:
    """Move a corpus beside a finished run, unless an unfinished one reads it."""
    readers = [state for state in _states(corpus.parent) if _corpus_of(state) == corpus.name and state.name != run.stem]
    if corpus.is_dir() and not readers:
        keep_corpus(corpus, run)


def sweep(out: Path) -> None:
    """Clear up after finished runs whose process died before it could; what a living process works on stays."""
    work = out / WORK
    for state in _states(work):
        if (out / f"{state.name}{SUFFIX}").is_file():
            corpus = work / (_corpus_of(state) or f"{_CORPUS}unknown")
            with suppress(InUse), locked(state), locked(corpus):
                clear(out, state.name, corpus)
    sweep_locks(work)


def sweep_locks(folder: Path) -> None:
    """Remove locks that dead processes left without what they protected."""
    for lock in folder.glob("*.lock"):
        path = lock.with_name(lock.name.removesuffix(".lock"))
        if not path.exists():
            with suppress(InUse), locked(path):
                pass


def _states(work: Path) -> list[Path]:
    return sorted(path for path in work.glob("*/") if not path.name.startswith(_CORPUS))


def _corpus_of(state: Path) -> str | None:
    """Name of the corpus's folder that an unfinished run reads; None where its plan does not say."""
    try:
        tokens = dict(json.loads((state / PLAN).read_text("utf-8"))).get("tokens")
    except (OSError, ValueError, TypeError):
        return None
    name = tokens.removeprefix("../") if isinstance(tokens, str) else ""
    return name if name.startswith(_CORPUS) and "/" not in name else None
