"""A directory as a source: every source file below it, except links and special files."""

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from keyscope.worker.corpus.files import MAX_BYTES, Skip, Skipped, first_folder, printable
from keyscope.worker.corpus.interface import Listed
from keyscope.worker.corpus.languages import language_of

LEFT_OUT = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "CVS", "__pycache__", "node_modules"})
"""Directories never entered: version control and package managers keep other people's code and copies there."""


class Directory(Listed):
    """A directory tree.

    Directories in `LEFT_OUT` and virtual environments (which have a `pyvenv.cfg`) are not entered. Symbolic links are not
    followed: they may form cycles, or lead to files outside that nobody meant to show.
    """

    def __init__(self, root: Path, name: str, left_out: Collection[str] = ()) -> None:
        super().__init__(name)
        self.project_of = lambda path: first_folder(path, self.name)
        self._root = str(root)
        self._left_out = LEFT_OUT.union(left_out)
        self._escaped: dict[str, str] = {}

    def paths(self, languages: Collection[str]) -> Iterator[str | Skip]:
        """See `Listed.paths`; directories that cannot be listed count as unreadable, links by their own name's suffix."""
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as scan:
                    entries = list(scan)
            except OSError:
                yield Skip.UNREADABLE
                continue
            if folder and any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            for entry in entries:
                path = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in self._left_out:
                        pending.append(path + "/")
                elif language_of(entry.name) in languages:
                    if entry.is_file(follow_symlinks=False):
                        yield self._shown(path)
                    else:
                        yield Skip.LINK if entry.is_symlink() else Skip.SPECIAL_FILE

    def read(self, path: str) -> bytes:
        """See `Listed.read`."""
        try:
            with open(os.path.join(self._root, self._escaped.get(path, path)), "rb", opener=_open_regular) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError:
            raise Skipped(Skip.UNREADABLE) from None
        if len(data) > MAX_BYTES:
            raise Skipped(Skip.TOO_LARGE)
        return data

    def _shown(self, path: str) -> str:
        shown = printable(path)
        if shown != path:
            self._escaped[shown] = path
        return shown


def _open_regular(path: str, flags: int) -> int:
    """Open without following a link or blocking on a pipe that replaced the file since it was listed."""
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor
