"""The runs of a directory: found, opened when first asked for, and opened again when their file was replaced."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from app.errors import UnknownRun
from app.queries.tokens import Vocabulary, load_vocabulary
from contract.manifest import Manifest
from contract.runfile import SUFFIX, RunFileError, open_run, read_manifest

DRAIN_SECONDS = 10.0
"""How long a replaced file's readers may take to finish before its connection is closed under them."""

log = logging.getLogger(__name__)

Signature = tuple[int, int, int]


class Run:
    """One open run file."""

    def __init__(self, path: Path, signature: Signature) -> None:
        self.path = path
        self.run_id = path.name.removesuffix(SUFFIX)
        self.signature = signature
        self._connection = open_run(path)
        try:
            # The file's name is the run's, also where somebody has renamed it.
            self.manifest: Manifest = read_manifest(self._connection).model_copy(update={"run_id": self.run_id})
        except BaseException:
            self._connection.close()
            raise
        self._vocabulary: Vocabulary | None = None
        self._readers = 0
        self._idle = threading.Condition()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for one request."""
        with self._idle:
            self._readers += 1
        try:
            with self._connection.cursor() as cursor:
                yield cursor
        finally:
            with self._idle:
                self._readers -= 1
                self._idle.notify_all()

    @property
    def vocabulary(self) -> Vocabulary:
        """Every token of the run, read once."""
        if self._vocabulary is None:
            with self.reading() as cursor:
                self._vocabulary = load_vocabulary(cursor)
        return self._vocabulary

    def close(self) -> None:
        """Close the file once no request reads it any more."""
        with self._idle:
            self._idle.wait_for(lambda: self._readers == 0, timeout=DRAIN_SECONDS)
            self._connection.close()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file of the runs directory that cannot be shown, and why."""

    run_id: str
    reason: str


class Registry:
    """The runs of one directory, looked up by the stem of their file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, Run] = {}
        self._lock = threading.Lock()

    def run_ids(self) -> list[str]:
        """Names of all run files there are now, readable or not, in alphabetical order."""
        if not self.directory.is_dir():
            return []
        return sorted(path.name.removesuffix(SUFFIX) for path in self.directory.glob(f"*{SUFFIX}") if path.is_file())

    def get(self, run_id: str) -> Run:
        """The run of that name, opened where it was not or where its file has been replaced.

        Raises:
            UnknownRun: there is no such file.
            RunFileError: the file cannot be read as a run.
        """
        if run_id not in self.run_ids():
            raise UnknownRun(run_id, self.run_ids())
        path = self.directory / f"{run_id}{SUFFIX}"
        with self._lock:
            try:
                signature = _signature(path)
                run = self._open.get(run_id)
                if run is not None and run.signature != signature:
                    # The old connection has to be closed first: DuckDB hands out one instance per path and process.
                    self._open.pop(run_id).close()
                    run = None
                if run is None:
                    run = self._open[run_id] = Run(path, signature)
            except FileNotFoundError as error:
                raise UnknownRun(run_id, self.run_ids()) from error
        return run

    def all(self) -> tuple[list[Run], list[Unreadable]]:
        """Every run that can be read, and every file that cannot with its reason."""
        readable, unreadable = [], []
        for run_id in self.run_ids():
            try:
                readable.append(self.get(run_id))
            except UnknownRun:
                continue
            except RunFileError as error:
                log.warning("unreadable run: %s", error)
                unreadable.append(Unreadable(run_id, error.detail))
        return readable, unreadable

    def close(self) -> None:
        """Close every open file."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


def _signature(path: Path) -> Signature:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
