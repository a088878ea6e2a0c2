"""Examples one a line: the text around each trigger token, with the trigger tokens below each other."""

import re
from dataclasses import dataclass

from keyscope.app.queries import Example, Vocabulary
from keyscope.app.web import formats
from keyscope.app.web.code import Heat
from keyscope.contract.texts import escaped

SIDE = 40
"""Characters shown on either side of a trigger token, and tokens looked at: few tokens are shorter than a character."""
_BREAK = re.compile(r"[ \t\r]*\n\s*")


@dataclass(frozen=True, slots=True)
class Row:
    """The text around a trigger token on one line: a line break and the indentation after it are one ⏎."""

    before: str
    token: str
    css: str
    """Shade of the token."""
    next: str
    """The token that follows; empty at the end of a window."""
    after: str


def draw(example: Example, vocabulary: Vocabulary, heat: Heat, cut: bool = False) -> Row:
    """An example on one line, shaded by the heat of its key; `cut` ends it at the trigger token."""
    ids, trigger = example.window.token_ids, example.trigger_index
    first = max(0, trigger - SIDE)
    texts = vocabulary.decode(ids[first : trigger + (1 if cut else SIDE)])
    at = trigger - first
    follows = texts[at + 1 :]
    return Row(
        before=_on_one_line("".join(texts[:at]))[-SIDE:],
        token=_token(texts[at]) or formats.token(vocabulary[ids[trigger]]),
        css=heat.css(example.coefficient),
        next=_token(follows[0]) if follows else "",
        after=_on_one_line("".join(follows[1:]))[:SIDE],
    )


def _token(text: str) -> str:
    """A token; one of white space alone is made visible."""
    return formats.visible(text) if text.isspace() else _on_one_line(text)


def _on_one_line(text: str) -> str:
    return escaped(_BREAK.sub("⏎", text).replace("\t", " "))
