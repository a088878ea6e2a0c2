"""A window as lines of code: each token shaded by its coefficient, the trigger token marked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup, escape

from keyscope.app.queries import Example, Vocabulary
from keyscope.app.web import formats
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
_TOKEN_CLASSES = {level: f"t {css}".rstrip() for level, css in _SHADE_CLASSES.items()}
_HIT_CLASSES = {level: f"{css} hit" for level, css in _TOKEN_CLASSES.items()}


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


def draw(example: Example, vocabulary: Vocabulary, scale: float, whole: bool = False, cut: bool = False) -> Code:
    """The lines around the trigger of an example, or those of its whole window.

    Args:
        example: the window.
        vocabulary: the tokens of its run.
        scale: coefficient of the deepest shade.
        whole: draw every line.
        cut: end at the trigger token.
    """
    window, trigger = example.window, example.trigger_index
    size = trigger + 1 if cut else len(window.token_ids)
    first, end, number = (0, size, window.line) if whole else _around(example, vocabulary, size)
    more = end < size or vocabulary.n_special(window.token_ids[:first]) < first
    lines: dict[int, list[str]] = {}
    texts = vocabulary.decode(window.token_ids[first:end])
    for text, coefficient, hit in _characters(texts, example.coefficients[first:end], trigger - first):
        tag = None if coefficient is None else _tag(text, coefficient, hit, scale)
        *broken, last = text.split("\n") if "\n" in text else (text,)
        for part in broken:
            # A line break has no width to shade, so the stronger ones are drawn as ⏎.
            drawn = coefficient is not None and (hit or abs(coefficient) >= BREAK_SHARE * scale)
            breaking = tag.replace('class="', 'class="break ') if tag and drawn else tag
            lines.setdefault(number, []).append(_html(part, breaking))
            number += 1
        if last:
            lines.setdefault(number, []).append(_html(last, tag))
    far = [] if whole else [each for each in lines if abs(each - example.line) > NEAR]
    for each in far:
        del lines[each]
    return Code(
        [Line(each, _css(each, example), Markup("".join(parts))) for each, parts in lines.items()],  # noqa: S704 - escaped
        more=more or bool(far),
    )


def shade(coefficient: float, scale: float) -> str:
    """CSS classes of a coefficient's shade: none at zero, the deepest at `scale`."""
    return _SHADE_CLASSES[_level(coefficient, scale)]


def _level(coefficient: float, scale: float) -> int:
    """The shade as a number: below 0 for negative coefficients."""
    if scale <= 0:
        return 0
    return max(-SHADES, min(SHADES, round(SHADES * coefficient / scale)))


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
    texts: Sequence[str], coefficients: Sequence[float | None], trigger: int
) -> Iterator[tuple[str, float | None, bool]]:
    """Text, coefficient and whether it is the trigger of each token that has text.

    A token with only later bytes of a character has no text: its mark, and its coefficient if larger, go to the token
    with the character's first byte.
    """
    drawn, shaded, hit = "", None, False
    for at, (text, coefficient) in enumerate(zip(texts, coefficients, strict=True)):
        if text:
            if drawn:
                yield drawn, shaded, hit
            drawn, shaded, hit = text, coefficient, at == trigger
        else:
            if coefficient is not None and (shaded is None or abs(coefficient) > abs(shaded)):
                shaded = coefficient
            hit = hit or at == trigger
    if drawn:
        yield drawn, shaded, hit


def _tag(text: str, coefficient: float, hit: bool, scale: float) -> str:
    """The opening tag of a token with a coefficient."""
    css = (_HIT_CLASSES if hit else _TOKEN_CLASSES)[_level(coefficient, scale)]
    return f'<span class="{css}" title="{_visible(text)}  {formats.number(coefficient)}">'


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
