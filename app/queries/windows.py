"""Windows of the corpus and the files they are from; the same windows are drawn on the pages of many keys."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
from pydantic_core import to_json

from keyscope.app.queries.recent import Recent
from keyscope.app.queries.tokens import Vocabulary
from keyscope.app.queries.values import rows
from keyscope.contract import code_parts

KEPT = 8_192
"""Windows kept in memory; with 256 tokens each about 10 MB."""
READ_AT_ONCE = 4_096
"""A run with no more windows has all of them read when one is first asked for, which costs as much as fifty lookups."""
KEPT_WRITTEN = 4_096
"""Windows kept as they are written in JSON; with 256 tokens each about 25 MB."""
_WINDOWS = 'SELECT window_id, file_id, start, line, "column", token_ids, parts FROM windows'
COUNT = "SELECT count(*) FROM windows"
FILES = "SELECT file_id, source, path, sha256 FROM files"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the corpus."""

    source: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a file's tokens."""

    window_id: int
    file: File
    start: int
    """Index of the first token in its file, BOS not counted."""
    line: int
    """Line of the first character in its file, from 1."""
    column: int
    """Column of that character, from 0."""
    token_ids: Sequence[int]
    """All tokens, including a leading BOS."""
    special: Sequence[int] = ()
    """Indices of the control tokens, which are no part of the file."""
    parts: bytes | None = None
    """The part of code that each token is in, as a `Part` each; None if the run file does not say."""

    def offset(self, index: int) -> int:
        """The index of one of its tokens among those of the file."""
        return self.start + index - bisect_left(self.special, index)


class Windows:
    """The windows of a run; the ones used last are kept."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._files: dict[int, File] | None = None
        self._count: int | None = None
        self._recent: Recent[int, Window] = Recent(KEPT)
        self._parts: Recent[int, bytes] = Recent(KEPT)
        self._written: Recent[int, bytes] = Recent(KEPT_WRITTEN)

    def find(self, cursor: duckdb.DuckDBPyConnection, window_ids: Iterable[int]) -> dict[int, Window]:
        """The windows with these ids."""
        wanted = list(dict.fromkeys(window_ids))
        found = self._recent.known(wanted)
        missing = [each for each in wanted if each not in found]
        if missing:
            read = self._read(cursor, missing)
            self._recent.keep(read)
            found |= {each: read[each] for each in missing}
        return found

    def parts(self, window: Window, language: str, end: int | None = None) -> bytes:
        """The part of code that each token of a window is in, as a `Part` each; `language` is that of its file.

        Reading code takes long: with an `end`, there may be no more than the lines with the tokens before it.
        """
        if window.parts is not None:
            return window.parts
        ids = window.token_ids
        end = len(ids) if end is None else end
        found = self._parts.known([window.window_id]).get(window.window_id, b"")
        if len(found) < end:
            while end < len(ids) and not self.vocabulary.breaks(ids[end - 1]):
                end += 1
            found = code_parts.parts(self.vocabulary.decode(ids[:end]), language, begins_file=window.start == 0)
            self._parts.keep({window.window_id: found})
        return found

    def part(self, window: Window, language: str, index: int) -> int:
        """The part of code that one token of a window is in."""
        return self.parts(window, language, index + 1)[index]

    def written(self, window: Window) -> bytes:
        """The fields `token_ids`, `tokens` and `token_hex` of a window in JSON, without braces around them.

        An answer about a key has a hundred thousand of these values, and other keys have the same windows.
        """
        return self._written.get(window.window_id, lambda _: self._write(window))

    def _write(self, window: Window) -> bytes:
        ids = window.token_ids
        fields = {
            "token_ids": list(ids),
            "tokens": self.vocabulary.texts(ids),
            "token_hex": self.vocabulary.hexes(ids),
        }
        return to_json(fields)[1:-1]

    def files(self, cursor: duckdb.DuckDBPyConnection) -> Mapping[int, File]:
        """The files of the corpus by their ids, read once."""
        if self._files is None:
            self._files = {file_id: File(*rest) for file_id, *rest in rows(cursor, FILES)}
        return self._files

    def _read(self, cursor: duckdb.DuckDBPyConnection, window_ids: list[int]) -> dict[int, Window]:
        """These windows, or all if there are few."""
        files = self.files(cursor)
        if self._count is None:
            [(self._count,)] = rows(cursor, COUNT)
        # numbers from the run file, written out: a subquery or parameters take longer
        wanted = "" if self._count <= READ_AT_ONCE else f" WHERE window_id IN ({', '.join(map(str, window_ids))})"
        return {
            # As an array, because a list of numbers takes eight times the memory.
            window_id: Window(
                window_id,
                files[file_id],
                start,
                line,
                column,
                array("I", token_ids),
                self.vocabulary.special_in(token_ids),
                parts if code_parts.are_of(parts, len(token_ids)) else None,
            )
            for window_id, file_id, start, line, column, token_ids, parts in rows(cursor, _WINDOWS + wanted)
        }
