"""The runs of a directory: opened on first use and reopened when their file or analyses change."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from keyscope.app.errors import UnknownRun
from keyscope.app.queries.blocks import Blocks
from keyscope.app.queries.keys import KeyNumbers, key_numbers
from keyscope.app.queries.recent import Recent
from keyscope.app.queries.tokens import Vocabulary, load_vocabulary
from keyscope.app.queries.windows import Windows
from keyscope.contract.analyses.files import analysis_files, read_analyses, read_problems
from keyscope.contract.keys import KeyId, Stack
from keyscope.contract.manifest import Manifest
from keyscope.contract.runfile import RunFileError, open_run, read_manifest
from keyscope.contract.tables import SUFFIX
from keyscope.contract.texts import escaped
from keyscope.contract.twin import twin_path

T = TypeVar("T")
log = logging.getLogger(__name__)

KEPT_KEYS = 200
"""Keys whose numbers stay in memory, about 30 kB each."""
KEPT_DOCUMENTS = 96
"""Blocks of keys whose documents stay in memory, about 400 kB each."""
KEPT_BLOCKS = 512
"""Blocks of keys of which rows of analyses stay in memory, about 50 kB each."""
KEPT_TABLES = 64
"""Tables of layers, overviews and the like that stay in memory, up to 500 kB each."""
RETRY_SECONDS = 60
"""How long a file that could not be read is left alone, unless it changes."""
Signature = tuple[tuple[str, int, int, int], ...]
"""Name, inode, time and size of a run file and of its analyses."""


class Run:
    """One open run file."""

    def __init__(self, path: Path, signature: Signature) -> None:
        self.path = path
        self.run_id = path.name.removesuffix(SUFFIX)
        self.signature = signature
        self._connection = open_run(path)
        # The file's name is the run's id, even if the file was renamed.
        self.manifest: Manifest = read_manifest(self._connection).model_copy(update={"run_id": self.run_id})
        self.analyses = {(each.kind, each.part): each for each in read_analyses(self._connection)}
        self.analysis_problems = read_problems(self._connection)
        self.blocks = Blocks(KEPT_BLOCKS)
        self._documents = Blocks(KEPT_DOCUMENTS)
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
        return self._numbers.get(key, lambda key: key_numbers(cursor, self._documents, self.vocabulary, key))

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


class _Slot:
    """One file, opened or refused; its lock lets one request open it while others wait."""

    def __init__(self) -> None:
        self.found: Run | RunFileError = RunFileError("not opened yet")
        self._signature: Signature | None = None
        self._tried = 0.0
        self._lock = threading.Lock()

    def open(self, path: Path) -> Run:
        """The run, opened if it is not open yet or its file has been replaced.

        Raises:
            FileNotFoundError: the file has gone.
            RunFileError: the file cannot be read as a run.
        """
        with self._lock:
            signature = _signature(path)
            retry = isinstance(self.found, RunFileError) and time.monotonic() - self._tried > RETRY_SECONDS
            if retry or signature != self._signature:
                # Requests still reading the old files keep them open until the last of them ends.
                self.found, self._signature, self._tried = _opened(path, signature), signature, time.monotonic()
            if isinstance(self.found, RunFileError):
                raise _anew(self.found)
            return self.found

    def unchanged(self, path: Path) -> Run | None:
        """The run if it is open and its files are still those that were opened; else None, without opening any."""
        found = self.found
        with contextlib.suppress(FileNotFoundError):
            if isinstance(found, Run) and found.signature == _signature(path):
                return found
        return None


class Registry:
    """The runs of one directory, by file name without suffix."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()

    def run_ids(self) -> list[str]:
        """Names of all present run files that have an address, readable or not, in alphabetical order."""
        return [run_id for run_id in self._names() if _has_address(run_id)]

    def get(self, run_id: str) -> Run:
        """The run of that name, opened if it is not open yet or its file has been replaced.

        Raises:
            UnknownRun: no such file exists.
            RunFileError: the file cannot be read as a run.
        """
        there = self.run_ids()
        if run_id not in there:
            raise UnknownRun(run_id, there)
        with self._lock:
            for gone in self._slots.keys() - set(there):
                # Requests still reading a removed file keep it open until the last of them ends.
                del self._slots[gone]
            slot = self._slots.setdefault(run_id, _Slot())
        try:
            # outside the lock: a file that is slow to open holds up only those who ask for it
            return slot.open(self._path(run_id))
        except FileNotFoundError as error:
            raise UnknownRun(run_id, self.run_ids()) from error

    def opened(self, run_id: str) -> Run | None:
        """The run of that name if it is open and unchanged; else None, and `get` has to look for it, which takes longer."""
        slot = self._slots.get(run_id)
        return slot.unchanged(self._path(run_id)) if slot else None

    def all(self) -> tuple[list[Run], list[Unreadable]]:
        """Every run that can be read, and every file that cannot, with the reason."""
        readable, unreadable = [], []
        for run_id in self._names():
            if not _has_address(run_id):
                name = escaped(run_id + SUFFIX)
                unreadable.append(Unreadable(name, f"{name} cannot be part of an address: rename the file"))
                continue
            try:
                readable.append(self.get(run_id))
            except UnknownRun:
                continue
            except RunFileError as error:
                unreadable.append(Unreadable(run_id, error.detail))
        return readable, unreadable

    def newest(self) -> Run | None:
        """The run that was computed last, of those that can be read; None if there is none."""
        return max(self.all()[0], key=lambda run: run.manifest.provenance.finished, default=None)

    def with_weights(self, weights_sha256: str) -> Run | None:
        """The first run of a model with these weights; None if there is none."""
        return next((run for run in self.all()[0] if run.manifest.model.weights_sha256 == weights_sha256), None)

    def of_stack(self, weights_sha256: str, stack: Stack) -> list[str]:
        """The runs of one stack of a model with these weights."""
        wanted = weights_sha256, stack
        models = [(run.run_id, run.manifest.model) for run in self.all()[0]]
        return [run_id for run_id, model in models if (model.weights_sha256, model.stack) == wanted]

    def close(self) -> None:
        """Close every open file."""
        with self._lock:
            while self._slots:
                found = self._slots.popitem()[1].found
                if isinstance(found, Run):
                    found.close()

    def _path(self, run_id: str) -> Path:
        return self.directory / f"{run_id}{SUFFIX}"

    def _names(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        return sorted(path.name.removesuffix(SUFFIX) for path in self.directory.glob(f"*{SUFFIX}") if path.is_file())


def _opened(path: Path, signature: Signature) -> Run | RunFileError:
    try:
        return Run(path, signature)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever is in a file, the others must stay readable
        refused = error if isinstance(error, RunFileError) else RunFileError(f"{path.name} cannot be read: {error}")
        log.warning("unreadable run: %s", refused)
        return _anew(refused)


def _anew(error: RunFileError) -> RunFileError:
    """The error without its traceback, which would keep what it passed through alive."""
    return type(error)(error.detail)


def _has_address(run_id: str) -> bool:
    """Whether an address can name the run: browsers take `.` and `..` for folders, and text has to be UTF-8."""
    return run_id not in ("", ".", "..") and run_id.isprintable()


def _signature(path: Path) -> Signature:
    twin = twin_path(path)
    of_twin = [twin, *(file for _, _, file in analysis_files(twin))] if twin.is_file() else []
    files = [path, *(file for _, _, file in analysis_files(path)), *of_twin]
    return tuple((str(file), *_content(file.stat())) for file in files)


def _content(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
