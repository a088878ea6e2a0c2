"""What a finished precompute leaves: its state is removed and its corpus moved beside the run, if need be by the next command."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from keyscope.contract.tables import SUFFIX
from keyscope.contract.whole import write_whole
from keyscope.worker.locks import InUse, locked
from keyscope.worker.precompute.corpus import keep_corpus
from keyscope.worker.precompute.errors import UnfinishedRun

WORK = ".work"
"""Folder of unfinished state in a folder of runs: `RUN/` and `corpus-KEY/`, each with a lock."""
_CORPUS = "corpus-"
_PLAN = "plan.json"


def corpus_state(out: Path, key: str) -> Path:
    """Folder of a corpus that is being gathered or read."""
    return out / WORK / f"{_CORPUS}{key}"


def run_state(out: Path, run_id: str) -> Path:
    """Folder of the shards of an unfinished run."""
    return out / WORK / run_id


def shards_folder(state: Path) -> Path:
    """Where an unfinished run keeps its shards and their plan."""
    return state / "shards"


def is_planned(state: Path) -> bool:
    """Whether an earlier attempt has planned its shards."""
    return (shards_folder(state) / _PLAN).is_file()


def write_plan(state: Path, files_per_shard: int, corpus: Path) -> None:
    """Keep how an unfinished run is cut into shards, and where its corpus is."""
    write_whole(shards_folder(state) / _PLAN, json.dumps({"files_per_shard": files_per_shard, "corpus": corpus.name}))


def read_plan(state: Path) -> int:
    """Files per shard of an unfinished run.

    Raises:
        UnfinishedRun: the plan is damaged, so nobody knows how its shards were cut.
    """
    files, _ = _plan(state)
    if files is None:
        raise UnfinishedRun(f"{shards_folder(state) / _PLAN} is damaged: remove {state} to start over")
    return files


def clear(out: Path, run_id: str, corpus: Path) -> None:
    """Clear up after a finished run whose state and corpus this process has locked."""
    place_corpus(corpus, out / f"{run_id}{SUFFIX}")
    shutil.rmtree(run_state(out, run_id), ignore_errors=True)


def place_corpus(corpus: Path, run: Path) -> None:
    """Move a corpus beside a finished run, unless an unfinished one reads it."""
    readers = [state for state in _states(corpus.parent) if _plan(state)[1] == corpus.name and state.name != run.stem]
    if corpus.is_dir() and not readers:
        keep_corpus(corpus, run)


def sweep(out: Path) -> None:
    """Clear up after finished runs whose process died before it could; what a living process works on stays."""
    work = out / WORK
    for state in _states(work):
        if (out / f"{state.name}{SUFFIX}").is_file():
            corpus = work / (_plan(state)[1] or f"{_CORPUS}unknown")
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


def _plan(state: Path) -> tuple[int | None, str | None]:
    """Files per shard and name of the corpus's folder; None where the plan does not say."""
    try:
        plan = dict(json.loads((shards_folder(state) / _PLAN).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None, None
    files, corpus = plan.get("files_per_shard"), plan.get("corpus")
    named = isinstance(corpus, str) and corpus.startswith(_CORPUS) and "/" not in corpus
    return files if isinstance(files, int) and files > 0 else None, corpus if named else None
