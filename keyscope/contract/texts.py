"""Numbers, errors and hidden characters as text that several rooms write alike."""

import re
from collections.abc import Mapping

HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that cannot be seen but break or reorder lines (controls, line separators, marks of direction), and
halves of characters, which text cannot have."""


def escaped(text: str) -> str:
    """Text on one line with its hidden characters written out as in Python: `\\x1b`, `\\u202e`."""
    return text if text.isprintable() else HIDDEN.sub(lambda match: _written(match[0]), text)


def legible(text: str) -> str:
    """The same for text of several lines, which keeps its line breaks and tabs."""
    return text if text.isprintable() else HIDDEN.sub(_written_unless_space, text)


def stretches(text: str) -> list[tuple[str, bool]]:
    """Text as `legible` writes it, cut into stretches, and whether each stands for a hidden character."""
    if text.isprintable():
        return [(text, False)]
    found, end = [], 0
    for match in HIDDEN.finditer(text):
        if match[0] not in _SPACE:
            found += [(text[end : match.start()], False), (_written(match[0]), True)]
            end = match.end()
    return [each for each in (*found, (text[end:], False)) if each[0]]


_SPACE = "\n\t"


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _written_unless_space(match: re.Match[str]) -> str:
    return match[0] if match[0] in _SPACE else _written(match[0])


def shortest(number: float) -> str:
    """The shortest text that reads back as exactly this number: `0`, `0.5`, `0.1234567`."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def duration(seconds: float) -> str:
    """A time as people say it: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(reasons: Mapping[str, int]) -> str:
    """What was left out, by reason: `12 too large, 3 link`."""
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in reasons.items() if count)


def first_line(error: Exception) -> str:
    """The first line of an error's message, which says what went wrong; libraries add hints on the next."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
