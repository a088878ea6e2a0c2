"""Patterns over source text that cannot hang whoever runs them: RE2 expressions and lists of identifiers."""

from collections.abc import Collection, Iterator
from functools import lru_cache

import re2

from keyscope.contract.errors import KeyscopeError

LONGEST_REGEX = 2000
"""Characters of an expression."""
MEMORY = 8 << 20
"""Bytes one compiled expression may take, its automaton included."""
_IDENTIFIER = re2.compile(r"[\pL_$][\pL\pN\pM_$]*")

Span = tuple[int, int]
"""First byte of a match, and the byte after its last."""


class InvalidPattern(KeyscopeError, ValueError):
    """An expression that cannot be used; the message names the place."""

    code = "invalid_pattern"
    status = 422


class Regex:
    """An expression in RE2's syntax: no backreferences and no lookaround, so the time is linear in the text."""

    def __init__(self, pattern: str) -> None:
        """Compile it.

        Raises:
            InvalidPattern: RE2 cannot read it, it is too large, or it matches the empty text, that is everywhere.
        """
        if len(pattern) > LONGEST_REGEX:
            raise InvalidPattern(
                f"the expression has {len(pattern)} characters, {LONGEST_REGEX} are read: use shorter ones"
            )
        self._compiled = _compile(pattern)
        if self._compiled.fullmatch("") is not None:
            raise InvalidPattern(f"{pattern!r} matches the empty text, that is everywhere: make it ask for something")

    def spans(self, text: bytes) -> Iterator[Span]:
        """Every match in a UTF-8 text, from left to right without overlap; empty matches are left out."""
        for match in self._compiled.finditer(text):
            if match.end() > match.start():
                yield match.span()


def is_identifier(name: str) -> bool:
    """Is it one identifier, as programming languages write them?"""
    return _IDENTIFIER.fullmatch(name) is not None


def identifier_spans(names: Collection[bytes], text: bytes) -> Iterator[Span]:
    """Every whole identifier of a UTF-8 text that is one of `names`, wherever it stands, comments and strings too."""
    for match in _IDENTIFIER.finditer(text):
        if match.group() in names:
            yield match.span()


@lru_cache(maxsize=64)
def _compile(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidPattern(_sentence(pattern, error)) from error


def _sentence(pattern: str, error: Exception) -> str:
    """What RE2 says, the place in the pattern it means, and what to write instead where that is known."""
    said = error.args[0] if error.args else str(error)
    message = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    reason, _, part = message.partition(": ")
    at = len(pattern) if part == pattern or not part else pattern.find(part)
    place = f" at character {at + 1}" if at >= 0 else ""
    shown = f" {part}" if part and part != pattern else ""
    return f"the expression {pattern!r} cannot be read: {reason}{shown}{place}{_hint(reason, part)}"


def _hint(reason: str, part: str) -> str:
    if reason == "invalid escape sequence" and part[1:].isdigit():
        return "; backreferences are not offered, for they can take forever"
    if reason == "invalid perl operator" and part[2:3] in ("=", "!", "<"):
        return "; lookahead and lookbehind are not offered, for they can take forever"
    return ""
