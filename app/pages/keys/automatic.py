"""One line about a key made by rules from its run file, where the evidence is clear; never a label."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from keyscope.app.queries import Token, TokenLogit, Vocabulary
from keyscope.app.queries.examples import TriggerToken
from keyscope.app.web import formats
from keyscope.contract.code_parts import Part

T = TypeVar("T", bound=Hashable)

FEWEST = 8
"""Triggers, or promoted tokens, that a rule needs."""
ONE = 0.5
"""Share of the triggers from which their commonest token, or what follows them, is named."""
SEVERAL = 0.7
"""Share from which a few tokens, or a sort of tokens, are named."""
NEARLY_ALL = 0.8
"""Share from which a language or a part of the code is named."""
ALL_BUT_ONE = 0.9
"""Share from which a sort of promoted tokens is named: tokens inside words are common in any vocabulary."""
FEW = 3
PROMOTED = 10
"""Promoted tokens looked at."""
_SORTS = (
    ("line breaks", re.compile(r"[ \t\r]*\n\s*")),
    ("white space", re.compile(r"\s+")),
    ("numbers", re.compile(r"\s*\d+")),
    ("opening brackets", re.compile(r"\W*[(\[{]")),
    ("closing brackets", re.compile(r"\s*[)\]}]\W*")),
    ("quotes", re.compile(r"\W*[\"'`]\W*")),
    ("punctuation and operators", re.compile(r"[\W_]+")),
    ("beginnings of words", re.compile(r"\s+\w+")),
    ("capitals that begin a part of a name", re.compile(r"[A-Z][a-z0-9]*")),
    ("names in capitals", re.compile(r"[A-Z_0-9]+")),
    ("parts inside words", re.compile(r"\w+")),
)
"""Sorts of tokens, the most particular first."""
_PARTS = {Part.COMMENT: "in comments", Part.STRING: "in strings"}


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of the line: words, tokens, words."""

    before: str
    tokens: tuple[str, ...] = ()
    after: str = ""


def line(
    triggers: Sequence[TriggerToken], parts: Sequence[int], promoted: Sequence[TokenLogit], vocabulary: Vocabulary
) -> list[Clause]:
    """What is evident about a key; empty if nothing is.

    Args:
        triggers: its strongest triggers.
        parts: the part of the code that some of them are in, as a `Part` each.
        promoted: the tokens its value promotes, the strongest first.
        vocabulary: the tokens of its run.
    """
    if len(triggers) < FEWEST:
        return []
    clauses = (
        _tokens(triggers, vocabulary),
        _place(triggers, parts),
        _next(triggers, vocabulary),
        _promotes(triggers, promoted),
    )
    return [clause for clause in clauses if clause]


def _tokens(triggers: Sequence[TriggerToken], vocabulary: Vocabulary) -> Clause | None:
    """One token, one in several spellings, a few, or a sort."""
    tokens = [vocabulary[each.token_id] for each in triggers]
    counts = Counter(tokens)
    token, share = _most(counts)
    if share >= ONE:
        return Clause("token detector:", (formats.token(token),), f"{formats.share(share)} of its strongest triggers")
    spelled = Counter(each.bytes.strip().lower() for each in tokens)
    bare, share = _most(spelled)
    if share >= ONE and bare:
        spellings = [each for each, _ in counts.most_common() if each.bytes.strip().lower() == bare]
        return Clause("fires on", _shown(spellings[:FEW]), f"{formats.share(share)} of its strongest triggers")
    few = counts.most_common(FEW)
    share = sum(count for _, count in few) / len(tokens)
    if share >= SEVERAL:
        return Clause("fires on", _shown(each for each, _ in few), f"{formats.share(share)} of its strongest triggers")
    sort, share = _most(Counter(map(_sort, tokens)))
    if share >= SEVERAL and sort:
        return Clause(
            f"fires on {sort}, such as", _shown(_of_sort(counts, sort)), f"{formats.share(share)} of its triggers"
        )
    return None


def _place(triggers: Sequence[TriggerToken], parts: Sequence[int]) -> Clause | None:
    """The language of the triggers and the part of the code they are in."""
    language, share = _most(Counter(each.language for each in triggers))
    languages = {each.language for each in triggers}
    in_language = f"in {formats.language(language)}" if share >= NEARLY_ALL and len(languages) > 1 else ""
    part, share = _most(Counter(parts)) if len(parts) >= FEWEST else (Part.CODE, 0.0)
    in_part = _PARTS.get(Part(part), "") if share >= NEARLY_ALL else ""
    where = " ".join(each for each in (in_part, in_language) if each)
    return Clause(f"mostly {where}") if where else None


def _next(triggers: Sequence[TriggerToken], vocabulary: Vocabulary) -> Clause | None:
    """The token that follows most triggers."""
    token_id, share = _most(Counter(each.next_id for each in triggers))
    if share < ONE or token_id is None:
        return None
    return Clause("followed by", (formats.token(vocabulary[token_id]),), f"in {formats.share(share)}")


def _promotes(triggers: Sequence[TriggerToken], promoted: Sequence[TokenLogit]) -> Clause | None:
    """What follows the triggers, if the value promotes it, or the sort of tokens that it promotes."""
    readable = [each.token for each in promoted if each.token.hex is None][:PROMOTED]
    ids = {token.token_id: token for token in readable}
    following = Counter(each.next_id for each in triggers if each.next_id in ids)
    share = sum(following.values()) / len(triggers)
    if share >= ONE:
        tokens = (ids[token_id] for token_id, _ in following.most_common(FEW) if token_id is not None)
        return Clause("promotes what comes next:", _shown(tokens), f"{formats.share(share)} of its strongest triggers")
    sort, share = _most(Counter(map(_sort, readable))) if len(readable) >= FEWEST else ("", 0.0)
    return Clause(f"promotes {sort}") if share >= ALL_BUT_ONE and sort else None


def _most(counts: Mapping[T, int]) -> tuple[T, float]:
    """The commonest of what was counted, and its share."""
    (found, count), *_ = Counter(counts).most_common(1)
    return found, count / sum(counts.values())


def _sort(token: Token) -> str:
    """The sort of a token; empty for one that is not text on its own."""
    return "" if token.hex else next((name for name, like in _SORTS if like.fullmatch(token.text)), "")


def _of_sort(counts: Counter[Token], sort: str) -> list[Token]:
    return [token for token, _ in counts.most_common() if _sort(token) == sort][:FEW]


def _shown(tokens: Iterable[Token]) -> tuple[str, ...]:
    return tuple(formats.token(each) for each in tokens)
