"""Tokens: exact bytes in the run file, text for people, and a notation that writes any token on one line."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

import duckdb

from keyscope.app.queries.values import rows
from keyscope.contract.texts import HIDDEN
from keyscope.contract.token_text import decode

T = TypeVar("T")
_ESCAPES = {"\\": b"\\", "n": b"\n", "r": b"\r", "t": b"\t"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[\\nrt])")
_WRITTEN = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
VOCABULARY = 'SELECT token_id, "bytes", special FROM tokens'
_TO_WRITE = re.compile(rf"\\|{HIDDEN.pattern}")


@dataclass(frozen=True)
class Token:
    token_id: int
    bytes: bytes
    special: bool = False

    @cached_property
    def text(self) -> str:
        """The token on its own; bytes that are not UTF-8 become U+FFFD."""
        return "".join(text for text in decode([self.bytes]))

    @cached_property
    def hex(self) -> str | None:
        """The bytes in hexadecimal, unless they are valid UTF-8 on their own."""
        return self.bytes.hex() if _decoded(self.bytes) is None else None

    @cached_property
    def notation(self) -> str:
        r"""The token on one line, as filters take it: `\n`, `\t`, `\r`, `\\` and `\xE2` stand for bytes, hidden ones included."""
        return _TO_WRITE.sub(_write, self.bytes.decode(errors="surrogateescape"))


class _Known(dict[int, T]):
    """What is known of a token by its id, found out when first asked for.

    A page looks up thousands of tokens: for those seen before, a dictionary answers without running any Python.
    """

    def __init__(self, find_out: Callable[[int], T]) -> None:
        self._find_out = find_out

    def __missing__(self, token_id: int) -> T:
        found = self[token_id] = self._find_out(token_id)
        return found


class Vocabulary:
    """The tokens of a run, looked up by id or by exact bytes."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._by_id = {token.token_id: token for token in tokens}
        self._special = {token.token_id for token in tokens if token.special}
        self._texts = _Known(lambda token_id: self[token_id].text)
        self._hexes = _Known(lambda token_id: self[token_id].hex)
        self._contents = _Known(lambda token_id: _content(self[token_id]))
        self._whole = _Known(lambda token_id: _decoded(_content(self[token_id])))
        self._breaks = _Known(lambda token_id: _content(self[token_id]).count(b"\n"))
        self._ids_by_bytes: dict[bytes, list[int]] = {}
        for token in tokens:
            if not token.special:
                self._ids_by_bytes.setdefault(token.bytes, []).append(token.token_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, token_id: int) -> Token:
        return self._by_id.get(token_id) or Token(token_id, f"<{token_id}>".encode(), special=True)

    def texts(self, token_ids: Iterable[int]) -> list[str]:
        """The text of each token on its own."""
        return list(map(self._texts.__getitem__, token_ids))

    def hexes(self, token_ids: Iterable[int]) -> list[str | None]:
        """The bytes of each token in hexadecimal, unless they are valid UTF-8 on their own."""
        return list(map(self._hexes.__getitem__, token_ids))

    def decode(self, token_ids: Sequence[int]) -> list[str]:
        """The part of each token in the text of a sequence, as `token_text.decode`; control tokens have none."""
        texts = [text for text in map(self._whole.__getitem__, token_ids) if text is not None]
        if len(texts) == len(token_ids):
            return texts
        # some character is split over several tokens
        return decode(list(map(self._contents.__getitem__, token_ids)))

    def content(self, token_ids: Iterable[int]) -> bytes:
        """The bytes of a sequence in its file, without control tokens."""
        return b"".join(map(self._contents.__getitem__, token_ids))

    def breaks(self, token_id: int) -> int:
        """The number of line breaks in a token."""
        return self._breaks[token_id]

    def n_special(self, token_ids: Iterable[int]) -> int:
        """How many of the tokens are control tokens, which are no part of a file."""
        return sum(map(self._special.__contains__, token_ids))

    def special_in(self, token_ids: Sequence[int]) -> list[int]:
        """The indices of the control tokens among these."""
        if self._special.isdisjoint(token_ids):
            return []
        return [at for at, token_id in enumerate(token_ids) if token_id in self._special]

    def ids(self, token: bytes) -> list[int]:
        """Ids of the tokens with exactly these bytes; never control tokens, which have no bytes in a file."""
        return self._ids_by_bytes.get(token, [])

    def split(self, text: bytes) -> list[Token]:
        """The text cut into the longest tokens that fit, from its beginning; empty if some byte is in no token.

        This is not the tokenizer, which merges by rules of its own, but on words of code both mostly agree.
        """
        found: list[Token] = []
        at = 0
        while at < len(text):
            longest = range(min(len(text), at + self._longest), at, -1)
            end = next((end for end in longest if text[at:end] in self._ids_by_bytes), None)
            if end is None:
                return []
            found.append(self[self._ids_by_bytes[text[at:end]][0]])
            at = end
        return found

    def likely(self, text: bytes) -> list[int]:
        """Ids of the tokens that a text probably consists of, after a blank or without one."""
        return sorted({token.token_id for each in (text, b" " + text) for token in self.split(each)})

    def is_within(self, token_ids: Sequence[int], at: int, text: bytes) -> bool:
        """Whether the token at index `at` is one of those that together are exactly a text, or the text after a blank."""
        contents = list(map(self._contents.__getitem__, token_ids))
        whole = b"".join(contents)
        if text not in whole:
            return False
        ends = list(accumulate(map(len, contents), initial=0))
        for first in range(at + 1):
            begin = ends[first] + (whole[ends[first] : ends[first] + 1] == b" " != text[:1])
            if whole.startswith(text, begin) and begin + len(text) in ends[at + 1 :]:
                return True
        return False

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._ids_by_bytes), default=0)

    def alike(self, token: bytes) -> list[Token]:
        """The tokens that differ only in surrounding white space and ASCII case, by id."""
        return self._alike.get(token.strip().lower(), [])

    @cached_property
    def _alike(self) -> dict[bytes, list[Token]]:
        found: dict[bytes, list[Token]] = {}
        for each in self._by_id.values():
            if not each.special:
                found.setdefault(each.bytes.strip().lower(), []).append(each)
        return found


def keys_about(cursor: duckdb.DuckDBPyConnection, token_ids: Sequence[int]) -> dict[int, int]:
    """How many keys fire on each of some tokens or promote it; tokens without any are left out."""
    sql = """
        SELECT token_id, count(DISTINCT (layer, "index")) FROM token_keys
        WHERE relation IN ('fires_on', 'promoted') AND token_id IN (SELECT unnest(?)) GROUP BY token_id"""
    return dict(rows(cursor, sql, [list(token_ids)]))


def load_vocabulary(cursor: duckdb.DuckDBPyConnection) -> Vocabulary:
    return Vocabulary([Token(*row) for row in rows(cursor, VOCABULARY)])


def parse_token(text: str) -> bytes:
    r"""The exact bytes of a token as a person writes it; white space counts. The inverse of `Token.notation`.

    `\n`, `\t`, `\r`, `\\` and `\x` with two hexadecimal digits stand for bytes; any other backslash is literal.
    """
    parts = _ESCAPE.split(text)
    for at in range(1, len(parts), 2):
        name = parts[at]
        byte = bytes.fromhex(name[1:]) if name[0] == "x" else _ESCAPES[name]
        parts[at] = byte.decode("latin-1")
    return b"".join(part.encode("latin-1" if at % 2 else "utf-8") for at, part in enumerate(parts))


def _content(token: Token) -> bytes:
    """A token's part of a file: nothing for a control token."""
    return b"" if token.special else token.bytes


def _write(match: re.Match[str]) -> str:
    data = match[0].encode(errors="surrogateescape")
    return _WRITTEN.get(match[0]) or "".join(f"\\x{byte:02x}" for byte in data)


def _decoded(token: bytes) -> str | None:
    """The text of bytes that are UTF-8 on their own."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None
