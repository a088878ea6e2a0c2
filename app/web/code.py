"""A window as lines of code: each token shaded by its coefficient, the trigger token marked."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from keyscope.app.queries import Example, WindowToken
from keyscope.app.web import formats

SHADES = 20
"""Steps of the coefficient scale on either side of zero."""
BREAK_SHARE = 0.2
"""Share of the scale from which a line break is drawn as ⏎."""
NEAR = 3
"""Lines shown above and below the trigger unless the whole window is opened."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text drawn alike; plain if it has no coefficient."""

    text: str
    css: str = ""
    """Classes of a token with a coefficient; empty for plain text."""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a window."""

    number: int
    css: str
    """here for the trigger's line, far for lines shown on request, cut if the line began in an earlier window."""
    pieces: list[Piece]
    far: bool
    """Shown on request only."""


@dataclass(frozen=True, slots=True)
class _Part:
    line: int
    piece: Piece


def code_lines(example: Example, scale: float) -> list[Line]:
    """The whole window of an example by line; `scale` is the coefficient of the deepest shade."""
    tokens = [token for token in example.tokens if not token.token.special]
    trigger = example.tokens[example.trigger_index]
    parts = (part for token, hit in _whole(tokens, trigger) for part in _parts(token, hit, scale))
    lines = []
    for number, group in groupby(parts, key=lambda part: part.line):
        pieces = list(_merge_plain(part.piece for part in group))
        cut = number == tokens[0].line and tokens[0].column > 0
        distance = abs(number - trigger.line)
        lines.append(Line(number, _line_css(distance, cut), pieces, far=distance > NEAR))
    return lines


def shade(coefficient: float, scale: float) -> str:
    """CSS classes of a coefficient's shade: none at zero, the deepest at `scale`."""
    level = min(SHADES, round(SHADES * abs(coefficient) / scale)) if scale > 0 else 0
    if level == 0:
        return ""
    return f"s{level}" if coefficient > 0 else f"s{level} neg"


def _parts(token: WindowToken, hit: bool, scale: float) -> Iterator[_Part]:
    """A token split at its line breaks."""
    texts = token.text.split("\n")
    css = "" if token.coefficient is None else f"t {shade(token.coefficient, scale)}".rstrip()
    title = "" if token.coefficient is None else _title(token, token.coefficient)
    if hit:
        css = f"{css or 't'} hit"
    # A line break has no width to shade, so the stronger ones are drawn as ⏎.
    drawn = hit or abs(token.coefficient or 0.0) >= BREAK_SHARE * scale
    break_css = f"{css} break" if drawn else css
    for at, text in enumerate(texts):
        ends_line = at < len(texts) - 1
        if text or ends_line:
            yield _Part(token.line + at, Piece(text.removesuffix("\r"), break_css if ends_line else css, title))


def _title(token: WindowToken, coefficient: float) -> str:
    return f"{formats.visible(token.text)}  {formats.number(coefficient)}"


def _whole(tokens: list[WindowToken], trigger: WindowToken) -> Iterator[tuple[WindowToken, bool]]:
    """The tokens that have text, and whether each is the trigger.

    A token with only later bytes of a character has no text: its mark, and its coefficient if larger, go to the token
    with the character's first byte.
    """
    drawn: WindowToken | None = None
    hit = False
    for token in tokens:
        if drawn is None or token.text:
            if drawn is not None:
                yield drawn, hit
            drawn, hit = token, False
        elif abs(token.coefficient or 0.0) > abs(drawn.coefficient or 0.0):
            drawn = replace(drawn, coefficient=token.coefficient)
        hit = hit or token is trigger
    if drawn is not None:
        yield drawn, hit


def _merge_plain(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Merge neighbouring pieces without a coefficient."""
    for plain, group in groupby(pieces, key=lambda piece: piece.css in ("", "t") and not piece.title):
        if plain:
            yield Piece("".join(piece.text for piece in group))
        else:
            yield from group


def _line_css(distance: int, cut: bool) -> str:
    css = ["here"] if distance == 0 else []
    if distance > NEAR:
        css.append("far")
    if cut:
        css.append("cut")
    return " ".join(css)
