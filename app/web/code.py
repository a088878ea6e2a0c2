"""A window as lines of code: each token shaded by its coefficient, the trigger token marked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from markupsafe import Markup, escape

from keyscope.app.queries import Example, Vocabulary
from keyscope.app.web import formats
from keyscope.contract.code_parts import Part
from keyscope.contract.texts import stretches

SHADES = 20
"""Steps of the coefficient scale on either side of zero."""
BREAK_SHARE = 0.2
"""Share of the scale from which a line break is drawn as ⏎."""
NEAR = 3
"""Lines shown above and below the trigger unless the whole window is asked for."""

_SHADE_CLASSES = {
    level: f"s{abs(level)}{' neg' if level < 0 else ''}" if level else "" for level in range(-SHADES, SHADES + 1)
}
"""Classes of a shade by its step."""
_PALE = 4
"""The deepest shade on which a token keeps the colour of its part of code; on deeper ones only ink is legible."""
_PART_CLASSES = {Part.KEYWORD: "k", Part.COMMENT: "c", Part.STRING: "q", Part.NUMBER: "n", Part.DEFINED: "d"}

Mark = Literal["", "hit", "next"]
"""The class of a token: hit for the trigger, next for the one after it."""


@dataclass(frozen=True, slots=True)
class Heat:
    """How coefficients become shades."""

    scale: float
    """Coefficient of the deepest shade."""
    floor: float = 0.0
    """Coefficients of smaller size are not shaded."""

    def level(self, coefficient: float) -> int:
        """The shade as a number: below 0 for negative coefficients."""
        if self.scale <= 0 or abs(coefficient) < self.floor:
            return 0
        return max(-SHADES, min(SHADES, round(SHADES * coefficient / self.scale)))

    def css(self, coefficient: float) -> str:
        """Classes of a coefficient's shade: none at zero, the deepest at the scale."""
        return _SHADE_CLASSES[self.level(coefficient)]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a window."""

    number: int
    css: str
    """here for the trigger's line, cut if the line began in an earlier window."""
    html: Markup
    """Its text; tokens with a coefficient are spans with the classes of their shade."""


@dataclass(frozen=True, slots=True)
class Code:
    """The lines drawn of a window."""

    lines: list[Line]
    more: bool
    """Whether the window has further lines."""


def draw(
    example: Example,
    vocabulary: Vocabulary,
    heat: Heat,
    parts: Callable[[int], bytes] = bytes,
    whole: bool = False,
    cut: bool = False,
) -> Code:
    """The lines around the trigger of an example, or those of its whole window.

    Args:
        example: the window.
        vocabulary: the tokens of its run.
        heat: how to shade it.
        parts: gives the part of code that each token up to an index is in, for its colour.
        whole: draw every line.
        cut: end at the trigger token.
    """
    window, trigger = example.window, example.trigger_index
    size = trigger + 1 if cut else len(window.token_ids)
    first, end, number = (0, size, window.line) if whole else _around(example, vocabulary, size)
    more = end < size or vocabulary.n_special(window.token_ids[:first]) < first
    line: list[str] = []
    lines = {number: line}
    texts = vocabulary.decode(window.token_ids[first:end])
    found = _characters(texts, example.coefficients[first:end], parts(end)[first:end], trigger - first)
    for text, coefficient, part, mark in found:
        if coefficient is None or (not mark and abs(coefficient) < heat.floor):
            *broken, last = _unshaded(text, part, mark)
        else:
            *broken, last = _shaded(text, coefficient, part, mark, heat)
        for piece in broken:
            line.append(piece)
            number += 1
            line = lines[number] = []
        if last:
            line.append(last)
    drawn = {at: html for at, html in lines.items() if html}
    near = drawn if whole else {at: html for at, html in drawn.items() if abs(at - example.line) <= NEAR}
    return Code(
        [Line(at, _css(at, example), Markup("".join(html))) for at, html in near.items()],  # noqa: S704 - escaped
        more=more or len(near) < len(drawn),
    )


def _around(example: Example, vocabulary: Vocabulary, size: int) -> tuple[int, int, int]:
    """First and end of the tokens with a part of the lines to draw, and the line of the first one."""
    ids, first, line = example.window.token_ids, example.trigger_index, example.line
    while first > 0 and line >= example.line - NEAR:
        first -= 1
        line -= vocabulary.breaks(ids[first])
    end, last_line = example.trigger_index, example.line
    while end < size and last_line <= example.line + NEAR:
        last_line += vocabulary.breaks(ids[end])
        end += 1
    return first, end, line


def _characters(
    texts: Sequence[str], coefficients: Sequence[float | None], parts: bytes, trigger: int
) -> Iterator[tuple[str, float | None, int, Mark]]:
    """Text, coefficient, part of code and mark of each token that has text.

    A token with only later bytes of a character has no text: its mark, and its coefficient if larger, go to the token
    with the character's first byte.
    """
    drawn, shaded, within = "", None, 0
    mark: Mark = ""
    for at, (text, coefficient, part) in enumerate(zip(texts, coefficients, parts, strict=True), start=-trigger):
        if text:
            if drawn:
                yield drawn, shaded, within, mark
            drawn, shaded, within = text, coefficient, part
            mark = "" if at not in (0, 1) else "next" if at else "hit"
        else:
            if coefficient is not None and (shaded is None or abs(coefficient) > abs(shaded)):
                shaded = coefficient
            mark = "hit" if at == 0 else mark
    if drawn:
        yield drawn, shaded, within, mark


@lru_cache(maxsize=1 << 16)
def _unshaded(text: str, part: int, mark: Mark) -> tuple[str, ...]:
    """A token as HTML, in pieces between line breaks; without a title, which would tell its coefficient."""
    css = _classes(0, part, mark)
    tag = f'<span class="{css[1:]}">' if css else None
    return _in_pieces(text, tag, tag)


def _shaded(text: str, coefficient: float, part: int, mark: Mark, heat: Heat) -> tuple[str, ...]:
    """A token as HTML with its coefficient, in pieces between line breaks."""
    css = _classes(heat.level(coefficient), part, mark)
    tag = f't{css}" title="{_visible(text)}  {formats.number(coefficient)}">'
    # A line break has no width to shade, so the stronger ones are drawn as ⏎.
    broken = mark or abs(coefficient) >= max(BREAK_SHARE * heat.scale, heat.floor)
    return _in_pieces(text, f'<span class="{tag}', f'<span class="{"break " if broken else ""}{tag}')


def _in_pieces(text: str, tag: str | None, breaking: str | None) -> tuple[str, ...]:
    """A text as HTML in pieces between line breaks, the last one empty after a break; `breaking` opens all others."""
    if "\n" not in text:
        return (_html(text, tag),)
    *broken, last = text.split("\n")
    return (*(_html(each, breaking) for each in broken), _html(last, tag) if last else "")


@cache
def _classes(level: int, part: int, mark: Mark) -> str:
    """The classes of a token, each after a space."""
    colour = _PART_CLASSES.get(Part(part), "") if abs(level) <= _PALE and mark != "hit" else ""
    return "".join(f" {each}" for each in (_SHADE_CLASSES[level], colour, mark) if each)


def _html(text: str, tag: str | None) -> str:
    escaped = _escaped(text[:-1] if text.endswith("\r") else text)
    return escaped if tag is None else f"{tag}{escaped}</span>"


def _css(number: int, example: Example) -> str:
    css = ["here"] if number == example.line else []
    if number == example.window.line and example.window.column > 0:
        css.append("cut")
    return " ".join(css)


@lru_cache(maxsize=1 << 16)
def _escaped(text: str) -> str:
    """HTML of a text; characters that cannot be seen are written out."""
    return "".join(
        f'<span class="esc">{part}</span>' if hidden else str(escape(part)) for part, hidden in stretches(text)
    )


@lru_cache(maxsize=1 << 16)
def _visible(text: str) -> str:
    return str(escape(formats.visible(text)))
