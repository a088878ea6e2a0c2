"""The runs of a directory: opened on first use and reopened when their file or analyses change."""

import logging
import os
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from keyscope.app.errors import UnknownRun
from keyscope.app.queries.keys import KeyNumbers, key_numbers
from keyscope.app.queries.recent import Recent
from keyscope.app.queries.tokens import Vocabulary, load_vocabulary
from keyscope.app.queries.windows import Windows
from keyscope.contract.analyses.files import analysis_files, read_analyses, read_problems
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest
from keyscope.contract.runfile import RunFileError, open_run, read_manifest
from keyscope.contract.tables import SUFFIX

T = TypeVar("T")
log = logging.getLogger(__name__)

KEPT_KEYS = 1000
"""Keys whose numbers stay in memory, about 30 kB each."""
KEPT_TABLES = 64
"""Tables of layers, overviews and the like that stay in memory, up to 500 kB each."""
Signature = tuple[tuple[str, int, int, int], ...]
"""Name, inode, time and size of a run file and of its analyses."""


class Run:
    """One open run file."""

    def __init__(self, path: Path, signature: Signature) -> None:
        self.path = path
        self.run_id = path.name.removesuffix(SUFFIX)
        self.signature = signature
        self._connection = open_run(path)
        try:
            # The file's name is the run's id, even if the file was renamed.
            self.manifest: Manifest = read_manifest(self._connection).model_copy(update={"run_id": self.run_id})
        except BaseException:
            self._connection.close()
            raise
        self.analyses = {(each.kind, each.part): each for each in read_analyses(self._connection)}
        self.analysis_problems = read_problems(self._connection)
        self._windows: Windows | None = None
        self._numbers: Recent[KeyId, KeyNumbers] = Recent(KEPT_KEYS)
        self._tables: Recent[Hashable, Any] = Recent(KEPT_TABLES)

    def reading(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one request, to be used in a `with` block."""
        return self._connection.cursor()

    @property
    def vocabulary(self) -> Vocabulary:
        """Every token of the run."""
        return self.windows.vocabulary

    @property
    def windows(self) -> Windows:
        """The windows of the run's corpus; its tokens are read when first asked for."""
        if self._windows is None:
            with self.reading() as cursor:
                self._windows = Windows(load_vocabulary(cursor))
        return self._windows

    def numbers(self, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> KeyNumbers:
        """All numbers of a key; each tab of its page shows them again."""
        return self._numbers.get(key, lambda key: key_numbers(cursor, self.vocabulary, key))

    def recall(self, query: Callable[..., T], cursor: duckdb.DuckDBPyConnection, *args: Hashable) -> T:
        """The result of a query on the run, which is asked once for equal arguments; not to be changed."""
        found: T = self._tables.get((query, *args), lambda _: query(cursor, *args))
        return found

    def close(self) -> None:
        """Close the files."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file in the runs directory that cannot be read as a run."""

    run_id: str
    reason: str


class Registry:
    """The runs of one directory, by file name without suffix."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, Run] = {}
        self._lock = threading.Lock()

    def run_ids(self) -> list[str]:
        """Names of all present run files, readable or not, in alphabetical order."""
        if not self.directory.is_dir():
            return []
        return sorted(path.name.removesuffix(SUFFIX) for path in self.directory.glob(f"*{SUFFIX}") if path.is_file())

    def get(self, run_id: str) -> Run:
        """The run of that name, opened if it is not open yet or its file has been replaced.

        Raises:
            UnknownRun: no such file exists.
            RunFileError: the file cannot be read as a run.
        """
        there = self.run_ids()
        if run_id not in there:
            raise UnknownRun(run_id, there)
        path = self.directory / f"{run_id}{SUFFIX}"
        with self._lock:
            for gone in self._open.keys() - set(there):
                # Requests still reading a removed file keep it open until the last of them ends.
                del self._open[gone]
            try:
                signature = _signature(path)
                run = self._open.get(run_id)
                if run is None or run.signature != signature:
                    # Requests still reading the old files keep them open until the last of them ends.
                    run = self._open[run_id] = Run(path, signature)
            except FileNotFoundError as error:
                raise UnknownRun(run_id, self.run_ids()) from error
        return run

    def all(self) -> tuple[list[Run], list[Unreadable]]:
        """Every run that can be read, and every file that cannot, with the reason."""
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

    def with_weights(self, weights_sha256: str) -> Run | None:
        """The first run of a model with these weights; None if there is none."""
        return next((run for run in self.all()[0] if run.manifest.model.weights_sha256 == weights_sha256), None)

    def close(self) -> None:
        """Close every open file."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


def _signature(path: Path) -> Signature:
    files = [path, *(file for _, _, file in analysis_files(path))]
    return tuple((file.name, *_content(file.stat())) for file in files)


def _content(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
