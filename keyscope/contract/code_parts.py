"""What each token of a window is as code, told by a lexer: a keyword, a comment, a string, …

A lexer sees one window. Where a window begins inside a comment or string, that is inferred from how the text goes on, so
the first lines of some windows are taken for something else.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound


class Part(IntEnum):
    """A kind of text in code."""

    CODE = 0
    KEYWORD = 1
    COMMENT = 2
    """Docstrings included."""
    STRING = 3
    NUMBER = 4
    DEFINED = 5
    """The name of a function or class where it is defined, and decorators."""


_PARTS = (
    (Comment.Preproc, Part.KEYWORD),
    (Comment, Part.COMMENT),
    (String.Doc, Part.COMMENT),
    (String, Part.STRING),
    (Number, Part.NUMBER),
    (Operator.Word, Part.KEYWORD),
    (Keyword, Part.KEYWORD),
    (Name.Function, Part.DEFINED),
    (Name.Class, Part.DEFINED),
    (Name.Decorator, Part.DEFINED),
)
"""The first that a lexer's token is of counts."""
_QUOTES = re.compile(r'"""|\'\'\'')
_OPENING = re.compile(r"(^|[=(\[{,:+]|\breturn)\s*[rRbBuUfF]{0,2}$")
"""What precedes quotes that open a string, on their line."""
_HEADING = re.compile(r":\s*(#[^\n]*)?\n\s*$")
"""The end of the line above quotes that open a docstring."""


def parts(texts: Sequence[str], language: str, begins_file: bool = False) -> bytes:
    """The part of code that each token is in, as a `Part` each.

    Args:
        texts: the text of each token of a window.
        language: its language; one that no lexer knows is all code.
        begins_file: whether the window is the beginning of its file.
    """
    lexer = _lexer(language)
    if lexer is None:
        return bytes(len(texts))
    text = "".join(texts)
    inside = "" if begins_file else _begun_inside(text, language)
    whole = inside + text
    if language != "python" and whole.rfind("/*") > whole.rfind("*/"):
        whole += "*/"  # lexers do not know a comment without an end
    of_characters = bytearray(len(whole))
    for start, kind, value in lexer.get_tokens_unprocessed(whole):
        part = _part(kind)
        if part:
            of_characters[start : start + len(value)] = bytes((part,)) * len(value)
    found, at = bytearray(), len(inside)
    for each in texts:
        first = at + len(each) - len(each.lstrip())
        at += len(each)
        found.append(of_characters[first] if first < at else Part.CODE)
    return bytes(found)


def are_of(stored: bytes | None, n_tokens: int) -> bool:
    """Whether these bytes are the parts of a window with so many tokens."""
    return stored is not None and len(stored) == n_tokens and max(stored, default=0) <= max(Part)


@cache
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language)
    except ClassNotFound:
        return None


@cache
def _part(kind: object) -> Part:
    return next((part for token, part in _PARTS if kind in token), Part.CODE)


def _begun_inside(text: str, language: str) -> str:
    """What opens the comment or string that a text begins inside; empty if it begins in code."""
    if language == "python":
        found = _QUOTES.search(text)
        return found[0] if found and not _opens(text, found.start(), found.end()) else ""
    end, start = text.find("*/"), text.find("/*")
    if end < 0 and start < 0:
        return "/*" if re.search(r"\n\s*\*[ \n]", text) else ""
    return "/*" if end >= 0 and not 0 <= start < end else ""


def _opens(text: str, start: int, end: int) -> bool:
    """Whether triple quotes open a string rather than close one."""
    line = text.rfind("\n", 0, start) + 1
    if not _OPENING.search(text[line:start]):
        return False
    alone = text[end : end + 1] in ("", "\n", "\r") and not text[line:start].strip()
    return not alone or line == 0 or bool(_HEADING.search(text[:line]))
