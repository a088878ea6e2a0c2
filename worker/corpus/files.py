"""A file of the corpus, and the checks it has to pass."""

import re
from dataclasses import dataclass
from enum import StrEnum

from keyscope.contract.texts import HIDDEN
from keyscope.worker.corpus.generated import is_generated

MAX_BYTES = 1_000_000
"""Larger files are skipped: they are tables and fixtures, not code written by hand."""
MAX_LINE = 1_000
"""Longest line, in characters, of a file considered written by hand."""

_UNPRINTABLE = re.compile(rf"\\|{HIDDEN.pattern}")


class Skip(StrEnum):
    """Why a file was skipped."""

    BINARY = "binary"
    UNDECODABLE = "undecodable"
    EMPTY = "empty"
    MINIFIED = "minified"
    GENERATED = "generated"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    LINK = "link"
    SPECIAL_FILE = "special_file"
    """A pipe, device or socket."""
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    OVER_LIMIT = "over_limit"


class Skipped(Exception):
    """A file is skipped; caught where files are counted, never shown as an error."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus, identified by `source` and `path`.

    `text` is the exact file: line endings, tabs, trailing white space and a byte order mark (U+FEFF) are kept, so `sha256`
    is that of `text.encode()`.
    """

    language: str
    source: str
    path: str
    text: str
    sha256: str
    project: str
    """What it belongs to: a repository, archive, package, module or folder. Files of one project are not independent."""


def read_text(data: bytes) -> str:
    """Decode a file strictly, without changing anything.

    Raises:
        Skipped: the bytes are not text, or not text written by hand.
    """
    if len(data) > MAX_BYTES:
        raise Skipped(Skip.TOO_LARGE)
    if b"\0" in data:
        raise Skipped(Skip.BINARY)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Skipped(Skip.UNDECODABLE) from None
    if not text.removeprefix("\ufeff").strip():
        raise Skipped(Skip.EMPTY)
    if max(map(len, text.splitlines())) > MAX_LINE:
        raise Skipped(Skip.MINIFIED)
    if is_generated(text):
        raise Skipped(Skip.GENERATED)
    return text


def first_folder(path: str, otherwise: str) -> str:
    """The first folder of a path, by which files of a tree are told apart into projects."""
    folder, slash, _ = path.partition("/")
    return folder if slash else otherwise


def printable(path: str) -> str:
    """Make a path one line of valid Unicode by escaping hidden characters and undecodable bytes with backslashes.

    Backslashes are escaped too, so different paths stay different.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), path)
