"""Tokens: exact bytes in the run file, text for people, and a notation that writes any token on one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import duckdb

from keyscope.app.queries.values import rows
from keyscope.contract.token_text import decode, is_lone_byte

_CONTINUATION = bytes(range(0x80, 0xC0))
"""UTF-8 continuation bytes."""
_ESCAPES = {"\\": b"\\", "n": b"\n", "r": b"\r", "t": b"\t"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[\\nrt])")
_WRITTEN = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


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
        return None if _is_utf8(self.bytes) else self.bytes.hex()

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Line breaks, characters that begin after the last one, and 1 if it begins inside a character, else 0."""
        if self.special:
            return 0, 0, 0
        breaks, last = self.bytes.count(b"\n"), self.bytes.rpartition(b"\n")[2]
        inside = bool(self.bytes) and self.bytes[0] in _CONTINUATION
        return breaks, len(last.translate(None, _CONTINUATION)), int(inside)

    @cached_property
    def notation(self) -> str:
        r"""The token on one line, as filters take it: `\n`, `\t`, `\r`, `\\` and `\xE2` stand for bytes."""
        escaped = self.bytes.decode(errors="surrogateescape")
        return "".join(
            f"\\x{ord(character) - 0xDC00:02x}" if is_lone_byte(character) else _WRITTEN.get(character, character)
            for character in escaped
        )


class Vocabulary:
    """The tokens of a run, looked up by id or by exact bytes."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._by_id = {token.token_id: token for token in tokens}
        self._ids_by_bytes: dict[bytes, list[int]] = {}
        for token in tokens:
            if not token.special:
                self._ids_by_bytes.setdefault(token.bytes, []).append(token.token_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, token_id: int) -> Token:
        return self._by_id.get(token_id) or Token(token_id, f"<{token_id}>".encode(), special=True)

    def ids(self, token: bytes) -> list[int]:
        """Ids of the tokens with exactly these bytes; never control tokens, which have no bytes in a file."""
        return self._ids_by_bytes.get(token, [])

    def alike(self, token: bytes) -> list[Token]:
        """The tokens that differ only in surrounding white space and ASCII case, by id."""
        wanted = token.strip().lower()
        return [each for each in self._by_id.values() if not each.special and each.bytes.strip().lower() == wanted]


def load_vocabulary(cursor: duckdb.DuckDBPyConnection) -> Vocabulary:
    return Vocabulary([Token(*row) for row in rows(cursor, 'SELECT token_id, "bytes", special FROM tokens')])


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


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
