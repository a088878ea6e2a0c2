"""A folder at a URL: on this machine, on a shared file system or in an object store, by fsspec."""

import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from keyscope.contract.errors import KeyscopeError

_ATTEMPTS = 5
_FIRST_PAUSE = 0.2
"""Seconds before a failed request to a store is repeated; each further pause is twice as long."""
_AT_ONCE = 8
T = TypeVar("T")


class StorageUnusable(KeyscopeError, status=400):
    """No storage can be opened at a URL."""


class Storage:
    """A folder at a URL. Stores fail now and then, so a request to one is repeated a few times; one to a disk is not."""

    def __init__(self, url: str) -> None:
        """Open it; nothing is created.

        Raises:
            StorageUnusable: the URL is of a kind that is unknown or not installed.
        """
        self.url = url.rstrip("/")
        try:
            self._fs, root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StorageUnusable(f"{url} cannot be used for work that is shared: {error}") from error
        self._root = str(root).rstrip("/")
        self.folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None
        """Where it is in the file system of this machine; None for a store."""
        if self.folder is not None:
            self.url = self._root  # a relative path would mean another place elsewhere

    def __reduce__(self) -> tuple[type["Storage"], tuple[str]]:
        return Storage, (self.url,)

    def below(self, name: str) -> "Storage":
        """A folder of this one."""
        return Storage(f"{self.url}/{name}")

    def beside(self, name: str) -> "Storage":
        """A folder named by its way from this one, as in `../other`."""
        if self.folder is not None:
            return Storage(str((self.folder / name).resolve()))
        url = self.url
        while name.startswith("../"):
            url, name = url.rpartition("/")[0], name.removeprefix("../")
        return Storage(f"{url}/{name}")

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        try:
            content: bytes = self._patiently(lambda: self._fs.cat_file(self._at(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole."""
        if self.folder is None:
            self._patiently(lambda: self._fs.pipe_file(self._at(name), content))
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        part.replace(path)

    def put(self, folder: Path, name: str) -> None:
        """Move a folder of files from this machine to `name`, which must not exist."""
        if self.folder is not None:
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, place)
            return
        self.copy(folder, name)
        shutil.rmtree(folder, ignore_errors=True)

    def copy(self, folder: Path, name: str) -> None:
        """Copy the files of a folder of this machine to `name`."""
        if self.folder is not None:
            shutil.copytree(folder, self.folder / name, dirs_exist_ok=True)
            return
        at_once(
            lambda path: self._upload(path, f"{name}/{path.name}" if name else path.name),
            [each for each in folder.iterdir() if each.is_file()],
        )

    def _upload(self, path: Path, name: str) -> None:
        self._patiently(lambda: self._fs.put_file(str(path), self._at(name)))

    def fetch(self, name: str, place: Path) -> None:
        """Copy a file to this machine.

        Raises:
            FileNotFoundError: there is none.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        self._patiently(lambda: self._fs.get_file(self._at(name), str(place)))

    def names(self, name: str) -> list[str]:
        """Names of the files and folders in a folder, in order; none if there is no such folder."""
        self._fs.invalidate_cache()
        try:
            found = self._patiently(lambda: self._fs.ls(self._at(name), detail=False))
        except FileNotFoundError:
            return []
        return sorted(str(each).rstrip("/").rpartition("/")[2] for each in found)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all it has, if it exists."""
        self._fs.invalidate_cache()
        try:
            self._patiently(lambda: self._fs.rm(self._at(name), recursive=True))
        except FileNotFoundError:
            return

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _patiently(self, request: Callable[[], Any]) -> Any:
        for attempt in range(_ATTEMPTS - 1):
            try:
                return request()
            except (FileNotFoundError, PermissionError):
                raise
            except OSError:
                if self.folder is not None:
                    raise
            time.sleep(_FIRST_PAUSE * 2**attempt)
        return request()


def at_once(do: Callable[[T], Any], items: Iterable[T]) -> list[Any]:
    """Call a function on several items at once, as requests to a store mostly wait; results in order."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(do, items))
