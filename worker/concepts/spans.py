"""Where patterns match in a file: what the child of `matching` answers. It imports neither numpy nor pydantic."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tree_sitter import Tree

from keyscope.contract.patterns import Regex, Span
from keyscope.worker.syntax.grammars import grammar, parse
from keyscope.worker.syntax.queries import captures, check_query


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pattern to look for: an expression, a query, or else identifiers."""

    regex: str | None
    query: str | None
    identifiers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Patterns, and the file they are looked for in."""

    language: str
    text: bytes | None
    """None only to check that the patterns can be used."""
    patterns: Sequence[Wanted]


def answers(search: Search) -> Iterator[list[Span]]:
    """The spans of each pattern in the file: first byte and the byte after the last, ascending, overlaps merged.

    Raises:
        InvalidPattern, InvalidQuery: a pattern cannot be used for the language.
        QueryTooBroad: a query has too many matches in progress at once.
    """
    tree: Tree | None = None
    for wanted in search.patterns:
        if wanted.regex is not None:
            regex = Regex(wanted.regex)
            yield [] if search.text is None else merged(regex.spans(search.text))
            continue
        query = wanted.query if wanted.query is not None else _names(search.language)
        compiled = _compiled(search.language, query)
        if search.text is None:
            yield []
            continue
        tree = tree or parse(search.text, search.language)
        assert tree is not None
        found = captures(tree, compiled)
        if wanted.query is None:
            # comments and strings have no name leaves, except inside the braces of an f-string
            names = {each.encode() for each in wanted.identifiers}
            found = [span for span in found if search.text[slice(*span)] in names]
        yield merged(found)


def merged(found: Iterable[Span]) -> list[Span]:
    """Sort spans, drop empty ones and merge those that overlap."""
    joined: list[Span] = []
    for first, end in sorted(found):
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > first:
            joined.append((first, end))
    return joined


_compiled = lru_cache(maxsize=256)(check_query)


def _names(language: str) -> str:
    """A query for every leaf that is a name."""
    rules = grammar(language)
    assert rules is not None
    return f"[{' '.join(f'({kind})' for kind in rules.names)}] @name"
