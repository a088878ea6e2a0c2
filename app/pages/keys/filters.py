"""Narrows a key's examples: to those on one token, or in one part of the code."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keyscope.app.queries import Example, Vocabulary, Windows, parse_token
from keyscope.app.queries.examples import TriggerToken
from keyscope.app.web import formats
from keyscope.contract.code_parts import Part

Within = Literal["", "code", "comments", "strings"]
WITHIN: dict[Within, str] = {
    "": "anywhere",
    "code": "code",
    "comments": "comments",
    "strings": "strings",
}
WITHIN_HELP = (
    "Told by a lexer from the window alone, docstrings counting as comments: where a window begins inside a string or a "
    "comment, its first lines may be taken for something else."
)
_PARTS: dict[Within, frozenset[int]] = {
    "code": frozenset(Part) - {Part.COMMENT, Part.STRING},
    "comments": frozenset({Part.COMMENT}),
    "strings": frozenset({Part.STRING}),
}
TELLING = 0.2
"""Smallest share of the triggers at which their commonest token is named."""
CHIPS = 6
"""Trigger tokens offered."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What an example must be."""

    token: str = ""
    """Its trigger token, as `Token.notation` writes it; empty for any."""
    within: Within = ""
    """The part of the code its trigger token is in; empty for any."""

    def __bool__(self) -> bool:
        return bool(self.token or self.within)

    def of(self, examples: Sequence[Example], windows: Windows) -> list[Example]:
        """The examples that pass."""
        ids = frozenset(windows.vocabulary.ids(parse_token(self.token))) if self.token else None
        parts = _PARTS.get(self.within)
        return [
            each
            for each in examples
            if (ids is None or each.window.token_ids[each.trigger_index] in ids)
            and (parts is None or windows.part(each.window, each.language, each.trigger_index) in parts)
        ]


@dataclass(frozen=True, slots=True)
class Common:
    """A token on which several triggers are."""

    token: str
    notation: str
    count: int


def commonest(triggers: Sequence[TriggerToken], vocabulary: Vocabulary, chosen: str = "") -> list[Common]:
    """The commonest tokens of some triggers, those on one trigger alone left out; the chosen one in any case."""
    counts = Counter(each.token_id for each in triggers)
    listed = [token_id for token_id, count in counts.most_common(CHIPS) if count > 1]
    wanted = vocabulary.ids(parse_token(chosen)) if chosen else []
    listed += [token_id for token_id in wanted if token_id not in listed]
    return [
        Common(formats.token(vocabulary[token_id]), vocabulary[token_id].notation, counts[token_id])
        for token_id in listed
    ]


@dataclass(frozen=True, slots=True)
class TopToken:
    """The commonest token of some triggers."""

    token: str
    share: float
    """Share of the triggers on it."""
    distinct: int
    """How many different tokens the triggers are on."""

    @property
    def telling(self) -> bool:
        """Whether enough triggers are on it to name it."""
        return self.share >= TELLING


def top_token(triggers: Sequence[TriggerToken], vocabulary: Vocabulary) -> TopToken | None:
    """The commonest token of some triggers; None if there are none."""
    counts = Counter(each.token_id for each in triggers)
    if not counts:
        return None
    [(token_id, count)] = counts.most_common(1)
    return TopToken(formats.token(vocabulary[token_id]), count / len(triggers), len(counts))
