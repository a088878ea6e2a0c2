"""A key as HTML for notebooks: styles stand inline, for a notebook has none of ours, and every text is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyscope.notebook.key import Example

SHOWN = 5
"""Triggers drawn of each language."""
NEAR = 2
"""Lines drawn before and after the trigger's."""
ABOVE, BELOW = "230, 126, 34", "41, 128, 185"
"""Red, green and blue of coefficients above and below 0: apart for colour-blind eyes, legible on light and dark."""


def key_as_html(
    name: str, statistics: Mapping[str, Any], promoted: Sequence[str], triggers: Sequence["Example"]
) -> str:
    """The key's name, a few of its numbers, what its value promotes, and its strongest triggers by language."""
    facts = [f"fires on {statistics['firing_rate']:.2%} of tokens", f"at most {statistics['maximum']:.3g}"]
    parts = [
        f"<div><strong>{escape(name)}</strong> {escape(' · '.join(facts))}</div>",
        f"<div>promotes {' '.join(_token(token) for token in promoted)}</div>",
    ]
    scale = max((abs(each.coefficient) for each in triggers), default=0.0)
    for language, group in groupby(triggers, key=lambda each: each.language):
        parts.append(f"<div style='margin-top:.6em'><em>{escape(language)}</em></div>")
        parts += [_trigger(each, scale) for each in list(group)[:SHOWN]]
    return f"<div>{''.join(parts)}</div>"


def visible(text: str) -> str:
    """Text in which control and direction characters are written out, so that none can rearrange a page."""
    return "".join(
        character if character.isprintable() or character in "\n\t " else f"\\u{ord(character):04x}"
        for character in text
    )


def _trigger(example: "Example", scale: float) -> str:
    place = f"{example.path}:{example.line}"
    return (
        f"<div style='font-size:85%;opacity:.75'>{example.rank}. {escape(visible(place))} "
        f"<b>{example.coefficient:.3g}</b></div>"
        f"<pre style='margin:0 0 .5em;padding:.3em;overflow-x:auto;line-height:1.35'>{_code(example, scale)}</pre>"
    )


def _code(example: "Example", scale: float) -> str:
    """The lines around the trigger, each token shaded by its coefficient."""
    first, last = example.line - NEAR, example.line + NEAR
    line = example.first_line
    drawn = []
    for at, (text, coefficient) in enumerate(zip(example.tokens, example.coefficients, strict=True)):
        for number, piece in enumerate(text.split("\n")):
            line += number > 0
            if first <= line <= last:
                drawn.append("\n" if number and line > first else "")
                drawn.append(_shaded(piece, coefficient, scale, hit=at == example.position))
    return "".join(drawn).strip("\n")


def _shaded(text: str, coefficient: float | None, scale: float, hit: bool) -> str:
    shown = escape(visible(text))
    if not text or (coefficient is None and not hit):
        return shown
    share = abs(coefficient or 0.0) / scale if scale else 0.0
    colour = ABOVE if (coefficient or 0.0) > 0 else BELOW
    outline = ";outline:1px solid;font-weight:bold" if hit else ""
    title = "" if coefficient is None else f" title='{coefficient:.3g}'"
    return f"<span{title} style='background:rgba({colour}, {min(share, 1.0) * 0.6:.2f}){outline}'>{shown}</span>"


def _token(text: str) -> str:
    # A repr would quote and escape twice; blanks have to be seen, for ` x` and `x` are two tokens.
    marked = visible(text).replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    return f"<code>{escape(marked)}</code>"
