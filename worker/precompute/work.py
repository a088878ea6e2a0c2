"""The unfinished state of a run at a URL: its plan, its tokenised corpus, and the results of its shards.

    plan.json
    shards/00012.json            a pointer: which attempt counts, its files with their sizes and sha256, where it was computed
    shards/00012/ATTEMPT/…       what an attempt wrote

Nothing is renamed or locked there. An attempt writes under a name of its own, and its pointer last; several attempts at a
shard lead to the same rows, so the last pointer may win, and a process thought dead does no harm.
"""

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from keyscope.contract.whole import file_sha256
from keyscope.worker.locks import locked
from keyscope.worker.precompute.errors import DamagedResult, UnfinishedRun
from keyscope.worker.precompute.plan import Plan, Shard, StoredFile, _Record
from keyscope.worker.storage import Storage, at_once

PLAN = "plan.json"
_SHARDS = "shards"


class Result(_Record):
    """The pointer to the result of a shard, and where that was computed."""

    number: int
    attempt: str
    plan: str
    """sha256 of the plan."""
    files: dict[str, StoredFile]
    worker: str
    device: str
    batch: int
    threads: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Work:
    """A planned run."""

    plan: Plan
    storage: Storage

    @classmethod
    def open(cls, storage: Storage) -> "Work | None":
        """What is planned in a folder; None if nothing is.

        Raises:
            UnfinishedRun: the plan is damaged or of another version.
        """
        document = storage.read(PLAN)
        if document is None:
            if storage.read(f"{_SHARDS}/{PLAN}") is not None:
                raise UnfinishedRun(
                    f"the run in {storage.url} was interrupted under an earlier version, whose shards cannot be used: "
                    "remove that folder to start over"
                )
            return None
        try:
            plan = Plan.model_validate_json(document)
        except ValidationError:
            raise UnfinishedRun(
                f"{storage.url}/{PLAN} is damaged or of another version: remove {storage.url} to start over"
            ) from None
        return cls(plan, storage)

    @classmethod
    def at(cls, url: str) -> "Work":
        """What is planned at the URL of a plan or of its folder.

        Raises:
            UnfinishedRun: there is no plan, or it is damaged.
            StorageUnusable: nothing can be read at such a URL.
        """
        storage = Storage(url.removesuffix(PLAN))
        found = cls.open(storage)
        if found is None:
            raise UnfinishedRun(f"there is no {PLAN} at {storage.url}: make one with keyscope precompute --plan-only")
        return found

    def begin(self) -> None:
        """Write the plan."""
        self.storage.write(PLAN, self.plan.document)

    @property
    def names(self) -> tuple[str, ...]:
        """Polarities of the coefficients: `max`, and of gated layers also `min`."""
        return ("max", "min") if self.plan.model.gated else ("max",)

    def add(self, folder: Path, result: Callable[[dict[str, StoredFile]], Result]) -> Result:
        """Move an attempt's files from `folder` to the storage, then write the pointer that `result` makes of their names."""
        made = result({each.name: stored(each) for each in sorted(folder.iterdir())})
        self.storage.put(folder, _attempt(made))
        self.storage.write(_pointer(made.number), made.model_dump_json(indent=1).encode())
        return made

    def result(self, number: int) -> Result | None:
        """The result of a shard; None if there is none of this plan."""
        document = self.storage.read(_pointer(number))
        try:
            found = None if document is None else Result.model_validate_json(document)
        except ValidationError:  # written only in part
            return None
        return found if found is not None and found.plan == self.plan.sha256 else None

    def results(self, shards: Sequence[Shard] | None = None) -> dict[int, Result]:
        """The results there are, of all shards or of some, by number."""
        wanted = {shard.number for shard in (self.plan.shards if shards is None else shards)}
        there = [
            int(name[:-5]) for name in self.storage.names(_SHARDS) if name.endswith(".json") and name[:-5].isdigit()
        ]
        found = at_once(self.result, [number for number in there if number in wanted])
        return {each.number: each for each in found if each is not None}

    @contextmanager
    def files(self, result: Result, names: Sequence[str], scratch: Path) -> Iterator[Path]:
        """A folder with some files of a result, copied to `scratch` for as long as needed unless they are on a disk here."""
        if self.storage.folder is not None:
            yield self.storage.folder / _attempt(result)
            return
        folder = own_folder(scratch)
        try:
            at_once(lambda name: self.storage.fetch(f"{_attempt(result)}/{name}", folder / name), names)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def stage(self, result: Result, scratch: Path) -> Path:
        """A folder on this machine with all files of a result, each as it was written.

        Raises:
            DamagedResult: a file is missing or was changed; its pointer is removed, so that the shard is computed again.
        """
        folder = self.storage.folder
        place = scratch / "staged" / f"{result.number:05d}" if folder is None else folder / _attempt(result)
        try:
            for name, written in result.files.items():
                if folder is None:
                    self.storage.fetch(f"{_attempt(result)}/{name}", place / name)
                check(place / name, written)
        except (FileNotFoundError, DamagedResult) as error:
            self.storage.remove(_pointer(result.number))
            raise DamagedResult(
                f"the result of shard {result.number} in {self.storage.url} is damaged ({error}): compute that shard again, "
                "with --resume or keyscope shards"
            ) from None
        return place

    def tokens(self, scratch: Path) -> Path:
        """Folder of the tokenised corpus on this machine; copied to `scratch` once, unless it is on a disk here.

        Raises:
            DamagedResult: what was copied is not what was written.
        """
        corpus = self.storage.beside(self.plan.tokens)
        if corpus.folder is not None:
            return corpus.folder
        place = scratch / self.plan.tokens.rpartition("/")[2]
        scratch.mkdir(parents=True, exist_ok=True)
        complete = place / "complete"
        with locked(place, wait=True):
            if not complete.exists():
                for name, written in self.plan.token_files.items():
                    corpus.fetch(name, place / name)
                    check(place / name, written)
                complete.touch()
        return place

    def sweep(self) -> None:
        """Remove everything, and the corpus beside it if no other run there reads it."""
        self.storage.remove("")
        _, _, name = self.plan.tokens.rpartition("/")
        if self.plan.tokens == f"../{name}":
            around = Storage(self.storage.url.rpartition("/")[0])
            others = (around.read(f"{each}/{PLAN}") for each in around.names(""))
            if not any(other is not None and name.encode() in other for other in others):
                around.remove(name)


def stored(path: Path) -> StoredFile:
    """Size and sha256 of a file."""
    return StoredFile(size=path.stat().st_size, sha256=file_sha256(path))


def check(path: Path, written: StoredFile) -> None:
    """Check that a file is what was written.

    Raises:
        DamagedResult: it is not.
    """
    if stored(path) != written:
        raise DamagedResult(f"{path.name} is not what was written")


def own_folder(scratch: Path) -> Path:
    """Make a folder that only this process uses, and remove those of processes of this machine that are gone."""
    host = socket.gethostname()
    scratch.mkdir(parents=True, exist_ok=True)
    for each in scratch.glob(f"{host}-*-*"):
        pid = each.name.removeprefix(f"{host}-").partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(each, ignore_errors=True)
    folder = scratch / f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    return folder


def _lives(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _pointer(number: int) -> str:
    return f"{_SHARDS}/{number:05d}.json"


def _attempt(result: Result) -> str:
    return f"{_SHARDS}/{result.number:05d}/{result.attempt}"
