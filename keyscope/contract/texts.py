"""Numbers and hidden characters as text that several rooms write alike."""

import re

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_LONE = r"\ud800-\udfff"
HIDDEN = re.compile(f"[{_CONTROLS}{_LONE}]")
"""Characters that cannot be seen but break or reorder lines (controls, line separators, marks of direction), and
halves of characters, which text cannot have."""


def escaped(text: str) -> str:
    """Text on one line without hidden characters: they are written as in Python, `\\x1b` or `\\u202e`."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


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
