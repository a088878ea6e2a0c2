"""The interface of what computes shards, and the loop that keeps it busy."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerFast

from keyscope.contract.manifest import BosPolicy, ModelFacts, Task
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.errors import ShardsFailed
from keyscope.worker.precompute.executors.floors import BestScores
from keyscope.worker.precompute.executors.runner import Finished, Floors
from keyscope.worker.precompute.plan import Shard
from keyscope.worker.precompute.token_store import TokenStore, open_tokens
from keyscope.worker.precompute.work import Work
from keyscope.worker.progress import Advance, Progress

_TRIES = 2
"""How often a shard may fail by itself."""


@dataclass(frozen=True)
class Outline:
    """What a precompute has to know of a model that another process may have loaded."""

    facts: ModelFacts
    tokenizer: PreTrainedTokenizerFast
    dtype: str
    device: str
    """The kind: `cpu` or `cuda`."""
    context_length: int
    default_batch: int

    @classmethod
    def of(cls, model: CodeModel) -> "Outline":
        """The outline of a loaded model."""
        return cls(
            facts=model.facts,
            tokenizer=model.tokenizer,
            dtype=str(model.dtype).removeprefix("torch."),
            device=model.device.type,
            context_length=model.context_length,
            default_batch=model.default_batch,
        )


@dataclass(frozen=True)
class Failed:
    """A shard whose computation raised an error."""

    error: Exception


Outcome = tuple[Shard, Finished | Failed]


class Session(Protocol):
    """A planned run being computed."""

    @property
    def free(self) -> int:
        """Shards that can be submitted now; later ones wait, to get the floors of all shards complete by then."""
        ...

    def submit(self, shard: Shard, floors: Floors) -> None:
        """Start computing a shard."""
        ...

    def wait(self, advance: Advance) -> list[Outcome]:
        """Wait until some of what was submitted is done; the list may be empty, if only `free` has changed.

        Tells `advance` the tokens that were read.

        Raises:
            KeyscopeError: nothing can be computed.
        """
        ...

    def estimate(self) -> str:
        """Estimate memory, disk and time in one sentence."""
        ...

    def publish(self, path: Path, mixed_devices: bool) -> None:
        """Merge the results of all shards, verify the run and publish it at `path`.

        Raises:
            VerificationFailed: recomputed coefficients differ; nothing is published.
        """
        ...


class Executor(Protocol):
    """Where shards are computed: it has the model loaded, once or many times."""

    def reading(self, bos: BosPolicy, task: Task | None) -> Outline:
        """The model as a run asks for it.

        Raises:
            NoEndOfText, TaskUnfit: from `CodeModel.reading`.
        """
        ...

    def session(self, work: Work, scratch: Path, progress: Progress) -> AbstractContextManager[Session]:
        """Begin to compute a planned run with the model as it was last asked for; `scratch` is for what is not finished."""
        ...


def run_shards(session: Session, work: Work, shards: Sequence[Shard], progress: Progress, scratch: Path) -> None:
    """Compute every shard of `shards` that has no result yet.

    Raises:
        ShardsFailed: some failed twice; the others are done.
    """
    best = BestScores(work.names, work.plan)
    done = work.results(shards)
    for shard in shards:
        if shard.number in done:
            best.add_stored(shard, done[shard.number], work, scratch)
    todo = [shard for shard in shards if shard.number not in done]
    if done:
        progress.note(f"continuing after {len(done)} of {len(shards)} shards")
    failures, failed, running = Counter[int](), dict[Shard, Exception](), 0
    total = sum(shard.tokens for shard in todo)
    with progress.stage("reading coefficients", total, "tokens") as advance:
        while todo or running:
            while todo and session.free > 0:
                shard = todo.pop(0)
                session.submit(shard, best.floors(shard.language))
                running += 1
            for shard, outcome in session.wait(advance):
                running -= 1
                if isinstance(outcome, Finished):
                    best.add(shard.language, outcome.scores)
                    continue
                failures[shard.number] += 1
                if failures[shard.number] < _TRIES:
                    progress.note(f"shard {shard.number} failed and is tried again: {_reason(outcome.error)}")
                    todo.insert(0, shard)
                else:
                    failed[shard] = outcome.error
    if failed:
        store = open_tokens(work.tokens(scratch))
        names = "; ".join(f"{_files(store, shard)}: {_reason(error)}" for shard, error in failed.items())
        raise ShardsFailed(
            f"{len(failed)} of {len(shards)} shards failed twice, the others are complete, and --resume tries these again: {names}"
        ) from next(iter(failed.values()))


def _files(store: TokenStore, shard: Shard) -> str:
    """A shard's files by the first and the last."""
    paths = store.files()["path"]
    first, last = (paths[number].as_py() for number in (shard.first, shard.stop - 1))
    return f"shard {shard.number}, {len(shard.files)} {shard.language} files from {first} to {last}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else 'no message'}"
