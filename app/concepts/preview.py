"""Try a pattern on a run's stored windows: how often it matches, and where."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from keyscope.app.queries.tokens import Vocabulary
from keyscope.app.queries.values import rows
from keyscope.contract.concepts import Pattern
from keyscope.contract.patterns import Regex, Span, identifier_spans

MOST_WINDOWS = 1000
"""Windows searched, in an order unrelated to their content."""
MOST_EXAMPLES = 6
MOST_MATCHES = 200
"""Matches counted per window; more would add nothing, and a person is waiting."""
AROUND = 60
"""Characters shown on each side of a match."""

_WINDOWS = """
    SELECT w.token_ids, w.line, f.path FROM windows w JOIN files f USING (file_id)
    WHERE f.language = ? ORDER BY hash(w.window_id) LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One match in its line of code."""

    path: str
    line: int
    before: str
    match: str
    after: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A pattern's matches in some windows of one language."""

    language: str
    windows: int
    """Windows searched."""
    windows_with: int
    matches: int
    examples: Sequence[Shown]


def preview(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, pattern: Pattern, language: str
) -> Preview | None:
    """Try a pattern; None for a query, which needs the syntax tree of a whole file.

    Identifiers also match in comments and strings, which cannot be told apart without a syntax tree.
    """
    matcher = _matcher(pattern)
    if matcher is None:
        return None
    found = rows(cursor, _WINDOWS, [language, MOST_WINDOWS])
    windows_with = matches = 0
    examples: list[Shown] = []
    for token_ids, line, path in found:
        text = b"".join(token.bytes for token in map(vocabulary.__getitem__, token_ids) if not token.special)
        spans = _first(matcher(text), MOST_MATCHES)
        matches += len(spans)
        windows_with += bool(spans)
        if spans and len(examples) < MOST_EXAMPLES:
            examples.append(_shown(path, line, text, *spans[0]))
    return Preview(language, len(found), windows_with, matches, examples)


def _matcher(pattern: Pattern) -> Callable[[bytes], Iterable[Span]] | None:
    if pattern.regex is not None:
        return Regex(pattern.regex).spans
    if pattern.identifiers is not None:
        names = frozenset(name.encode() for name in pattern.identifiers)
        return lambda text: identifier_spans(names, text)
    return None


def _first(spans: Iterable[Span], most: int) -> list[Span]:
    return [span for span, _ in zip(spans, range(most), strict=False)]


def _shown(path: Any, line: int, text: bytes, first: int, end: int) -> Shown:
    before, match, after = (part.decode(errors="replace") for part in (text[:first], text[first:end], text[end:]))
    return Shown(
        path=path,
        line=line + before.count("\n"),
        before=before.rpartition("\n")[2][-AROUND:],
        match=match,
        after=after.partition("\n")[0][:AROUND],
    )
