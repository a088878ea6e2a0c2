"""A text as lines with links on their numbers and tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyscope.app.queries import Token
from keyscope.contract.texts import legible
from keyscope.contract.token_text import decode

Href = Callable[[int, int], str]
"""The address that chooses a span of tokens, from first to last."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A token, or the part of it on one line."""

    text: str
    href: str
    title: str
    current: bool
    ends_line: bool


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of the text."""

    number: int
    href: str
    pieces: list[Piece]


def text_lines(tokens: Sequence[Token], chosen: range, href: Href) -> list[TextLine]:
    """The lines of a text; control tokens are on none, and a character split over tokens belongs to the first."""
    lines: list[list[tuple[int, str, bool]]] = [[]]
    known = [b"" if token.special else token.bytes for token in tokens]
    for number, text in enumerate(decode(known)):
        *whole, last = text.split("\n")
        for part in whole:
            lines[-1].append((number, part.removesuffix("\r"), True))
            lines.append([])
        if last:
            lines[-1].append((number, last, False))
    return [_line(at, parts, tokens, chosen, href) for at, parts in enumerate(lines, start=1) if parts]


def _line(
    at: int, parts: Sequence[tuple[int, str, bool]], tokens: Sequence[Token], chosen: range, href: Href
) -> TextLine:
    pieces = [
        Piece(legible(text), href(number, number), f"token {number}: {tokens[number].notation}", number in chosen, ends)
        for number, text, ends in parts
    ]
    return TextLine(at, href(parts[0][0], parts[-1][0]), pieces)
