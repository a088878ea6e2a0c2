"""Patterns over source text that run in linear time: RE2 expressions and lists of identifiers."""

from collections.abc import Collection, Iterator
from functools import lru_cache

import re2

from keyscope.contract.errors import KeyscopeError

LONGEST_REGEX = 2000
"""Characters in an expression."""
MEMORY = 256 << 10
"""Bytes one compiled expression may take, including its automaton."""
_IDENTIFIER = re2.compile(r"[\pL_$][\pL\pN\pM_$]*")

Span = tuple[int, int]
"""Byte range of a match, end exclusive."""


class InvalidPattern(KeyscopeError, ValueError, status=422):
    """The expression cannot be used; the message names the place."""


class Regex:
    """An expression in RE2 syntax: without backreferences and lookaround, time is linear in the text."""

    def __init__(self, pattern: str) -> None:
        """Compile it.

        Raises:
            InvalidPattern: RE2 cannot parse it, it is too large, or it matches the empty string and so everywhere.
        """
        if len(pattern) > LONGEST_REGEX:
            raise InvalidPattern(
                f"the expression has {len(pattern)} characters, at most {LONGEST_REGEX} are allowed: shorten it"
            )
        self._compiled = compiled_regex(pattern)
        if self._compiled.fullmatch("") is not None:
            raise InvalidPattern(
                f"{pattern!r} matches the empty string, and so everywhere: require at least one character"
            )

    def spans(self, text: bytes) -> Iterator[Span]:
        """Non-overlapping, non-empty matches in a UTF-8 text, from left to right."""
        for match in self._compiled.finditer(text):
            if match.end() > match.start():
                yield match.span()


def is_identifier(name: str) -> bool:
    """Check whether `name` is one identifier as programming languages write them."""
    return _IDENTIFIER.fullmatch(name) is not None


def identifier_spans(names: Collection[bytes], text: bytes) -> Iterator[Span]:
    """Every whole identifier of a UTF-8 text that is in `names`, including those in comments and strings."""
    for match in _IDENTIFIER.finditer(text):
        if match.group() in names:
            yield match.span()


@lru_cache(maxsize=64)
def compiled_regex(pattern: str) -> "re2._Regexp":
    """Compile an expression that may match the empty string.

    Raises:
        InvalidPattern: RE2 cannot parse it, or it is too large.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidPattern(_sentence(pattern, error)) from error


def _sentence(pattern: str, error: Exception) -> str:
    """Make a sentence of RE2's message, with the place in the pattern and a hint if there is one."""
    said = error.args[0] if error.args else str(error)
    message = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    reason, _, part = message.partition(": ")
    at = len(pattern) if part == pattern or not part else pattern.find(part)
    place = f" at character {at + 1}" if at >= 0 else ""
    shown = f" {part}" if part and part != pattern else ""
    return f"the expression {pattern!r} cannot be read: {reason}{shown}{place}{_hint(reason, part)}"


def _hint(reason: str, part: str) -> str:
    if reason == "invalid escape sequence" and part[1:].isdigit():
        return "; backreferences are not supported, because matching them can take forever"
    if reason == "invalid perl operator" and part[2:3] in ("=", "!", "<"):
        return "; lookahead and lookbehind are not supported, because matching them can take forever"
    return ""
