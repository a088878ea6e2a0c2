"""A file of the corpus, and the checks a file has to pass to become one."""

import re
from dataclasses import dataclass
from enum import StrEnum

from keyscope.worker.corpus.generated import is_generated

MAX_BYTES = 1_000_000
"""Larger files are left out: they are tables and fixtures rather than code that someone wrote."""
MAX_LINE = 1_000
"""Longest line, in characters, of a file that is taken for written by hand."""

_UNPRINTABLE = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")


class Skip(StrEnum):
    """Why a file was left out."""

    BINARY = "binary"
    UNDECODABLE = "undecodable"
    EMPTY = "empty"
    MINIFIED = "minified"
    GENERATED = "generated"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    OVER_LIMIT = "over_limit"


class Skipped(Exception):
    """A file that is left out; caught where files are counted, never shown as an error."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus; `source` and `path` together are its identity.

    `text` is the file to the last byte: line endings, tabs, trailing white space and a byte order mark (U+FEFF) stay as
    they are, so `text.encode()` are the bytes that `sha256` was taken of.
    """

    language: str
    source: str
    path: str
    text: str
    sha256: str


def read_text(data: bytes) -> str:
    """The text of a file's bytes, decoded strictly and changed in nothing.

    Raises:
        Skipped: the bytes are no text, or a text that nobody wrote by hand.
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


def printable(path: str) -> str:
    """The path as one line of valid Unicode: control characters and undecodable bytes become backslash escapes.

    Backslashes are escaped too, so different paths stay different.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), path)
