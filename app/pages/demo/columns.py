"""Generations of one prompt side by side, each cut where it begins to repeat itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyscope.app.pages.live.generated import differing
from keyscope.contract.wire import BranchResult, GeneratedToken

NEW_TOKENS = 24
CYCLES = range(4, 9)
"""Lengths, in tokens, of what is recognised when it comes twice; shorter cycles repeat within 4 or 6 tokens."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens that all differ from another column, or all do not."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One continuation of the prompt."""

    name: str
    title: str
    pieces: list[Piece]
    repeats: bool
    """Whether it was cut because it repeats itself."""


def column(name: str, title: str, shown: BranchResult, other: BranchResult) -> Column:
    """A continuation with the tokens marked that have no partner in another one."""
    tokens, others = (branch.tokens[: before_loop(branch.tokens)] for branch in (shown, other))
    mine, _ = differing(tokens, others)
    pieces: list[Piece] = []
    for at, token in enumerate(tokens):
        if pieces and pieces[-1].differs == (at in mine):
            pieces[-1] = Piece(pieces[-1].text + token.token, at in mine)
        else:
            pieces.append(Piece(token.token, at in mine))
    return Column(name, title, pieces, repeats=len(tokens) < len(shown.tokens))


def before_loop(tokens: Sequence[GeneratedToken]) -> int:
    """How many tokens come before the text repeats the four to eight tokens it has just written."""
    ids = [token.token_id for token in tokens]
    for end in range(len(ids) + 1):
        for size in CYCLES:
            if end >= 2 * size and ids[end - size : end] == ids[end - 2 * size : end - size]:
                return end - size
    return len(ids)
