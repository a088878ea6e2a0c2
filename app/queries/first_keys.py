"""Keys to look at first, chosen by rule: those with one clear token, and those with many."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from keyscope.app.queries.key_rows import KeyRow, rows_of
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.queries.values import rows
from keyscope.contract.keys import KeyId

CLEAR = 0.5
"""Share of the triggers from which on one token is what a key is about."""
SPARE = 3
"""How many times as many keys are looked at as are shown."""
LETTERS = 3
"""Fewest letters of a token that says something by itself."""
_RARE = """
    WITH rare AS (
        SELECT * FROM keys WHERE NOT dead AND top_token_share IS NOT NULL AND layer = coalesce(?, layer)
        QUALIFY firing_rate <= median(firing_rate) OVER (PARTITION BY layer))"""
"""The half of each layer's keys that fires less: the others colour whole files."""
_CLEAR = f"""{_RARE}
    SELECT layer, "index", stack, top_language, top_token_id, top_token_share FROM rare
    QUALIFY row_number() OVER (
        PARTITION BY layer, top_language, top_token_id ORDER BY top_token_share DESC, kurtosis DESC, "index") = 1
    ORDER BY top_token_share DESC, layer, "index" """  # noqa: S608 - our own clause
_VARIED = f"""{_RARE}
    SELECT layer, "index", stack FROM rare ORDER BY distinct_tokens DESC, top_token_share, kurtosis DESC, "index" LIMIT ?"""  # noqa: S608 - our own clause


@dataclass(frozen=True, slots=True)
class _Clear:
    """A key most of whose triggers are on one token."""

    key: KeyId
    language: str
    token_id: int
    is_clear: bool


def clear_keys(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, limit: int, layer: int | None = None
) -> list[KeyRow]:
    """Keys whose triggers are mostly on one word, of all layers or of one, among the half that fires less.

    Layers and languages take turns, and no word comes twice; among equals the key that keeps to its word most comes
    first.
    """
    found = [
        _Clear(KeyId(*key), language, token_id, share >= CLEAR)
        for *key, language, token_id, share in rows(cursor, _CLEAR, [layer])
        if _is_word(vocabulary[token_id])
    ]
    # the strongest trigger is what people see, so it has to be on the word
    several = rows_of(cursor, vocabulary, [each.key for each in _in_turns(found, vocabulary, SPARE * limit)])
    shown = [row for row in several if row.top and row.top.token.token_id == row.statistics["top_token_id"]]
    return shown[:limit]


def varied_keys(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, limit: int, layer: int) -> list[KeyRow]:
    """The keys of a layer with the most different trigger tokens, among the half that fires less."""
    return rows_of(cursor, vocabulary, [KeyId(*row) for row in rows(cursor, _VARIED, [layer, limit])])


def _in_turns(found: Iterable[_Clear], vocabulary: Vocabulary, limit: int) -> list[_Clear]:
    """The first of those that share layer and language with the fewest chosen before."""
    left, chosen = list(found), list[_Clear]()
    layers, languages, words = Counter[int](), Counter[str](), set[bytes]()
    while left and len(chosen) < limit:
        best = min(left, key=lambda each: (not each.is_clear, layers[each.key.layer], languages[each.language]))
        chosen.append(best)
        layers[best.key.layer] += 1
        languages[best.language] += 1
        words.add(_word(vocabulary[best.token_id]))
        left = [each for each in left if _word(vocabulary[each.token_id]) not in words]
    return chosen


def _is_word(token: Token) -> bool:
    word = _word(token)
    return len(word) >= LETTERS and word.isalpha() and not token.special


def _word(token: Token) -> bytes:
    return token.bytes.strip().lower()
