"""Places of a concept in a file: spans of bytes, and the tokens that overlap them."""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept, InvalidConcept, Pattern
from keyscope.contract.patterns import Regex, Span
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.syntax.grammars import grammar
from keyscope.worker.syntax.queries import InvalidQuery, captures, check_query

BoolArray = npt.NDArray[np.bool_]


def check(concept: Concept, languages: Iterable[str]) -> None:
    """Check that a concept's patterns for these languages can be used.

    Raises:
        InvalidConcept: a language has no grammar, or a query cannot be read.
    """
    for language in languages:
        if language in concept.patterns:
            _matcher(concept.name, concept.patterns[language], language)


def spans(concept: Concept, text: bytes, language: str) -> list[Span]:
    """The spans of a concept in a text: first byte and the byte after the last, ascending, overlaps merged.

    Empty for a language the concept has no pattern for.

    Raises:
        InvalidConcept: the language has no grammar and the pattern needs one, or the query cannot be read.
        QueryTooBroad: the query would take too long.
    """
    pattern = concept.patterns.get(language)
    return [] if pattern is None else merged(_matcher(concept.name, pattern, language)(text))


def token_mask(concept: Concept, store: TokenStore, file: int) -> BoolArray:
    """Mark the tokens of a file that overlap a span of the concept, [tokens of the file].

    Raises:
        InvalidConcept, QueryTooBroad: as for `spans`.
    """
    language = store.language_names[store.languages[file]]
    starts = store.starts[store.tokens_of(file)]
    if language not in concept.patterns:
        return np.zeros(len(starts), dtype=bool)
    text = store.text(file)
    return tokens_in(spans(concept, text, language), starts, len(text))


def tokens_in(found: list[Span], starts: npt.NDArray[np.uint32], length: int) -> BoolArray:
    """Mark the tokens that overlap a span, [tokens].

    Args:
        found: disjoint spans, ascending.
        starts: first byte of each token; a token reaches to the start of the next one.
        length: bytes of the text, where the last token ends.
    """
    if not found:
        return np.zeros(len(starts), dtype=bool)
    begin = starts.astype(np.int64)
    end = np.append(begin[1:], length)
    firsts, lasts = np.array(found).T
    # spans are disjoint, so only the last one that begins before the token ends can reach into it
    before = np.searchsorted(firsts, end, side="left") - 1
    overlap: BoolArray = (before >= 0) & (lasts[np.maximum(before, 0)] > begin)
    return overlap


def merged(found: Iterable[Span]) -> list[Span]:
    """Sort spans, drop empty ones and merge those that overlap."""
    joined: list[Span] = []
    for first, end in sorted(found):
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > first:
            joined.append((first, end))
    return joined


Matcher = Callable[[bytes], Iterable[Span]]


@lru_cache(maxsize=256)
def _matcher(name: str, pattern: Pattern, language: str) -> Matcher:
    if pattern.regex is not None:
        return Regex(pattern.regex).spans
    rules = grammar(language)
    if rules is None:
        raise InvalidConcept(
            f"the {pattern.kind} of concept {name} for {language} needs a syntax tree, but there is no grammar for "
            f"{language}: give a regular expression instead"
        )
    if pattern.query is not None:
        return _by_query(name, pattern.query, language)
    names = frozenset(each.encode() for each in pattern.identifiers or ())
    leaves = _by_query(name, f"[{' '.join(f'({kind})' for kind in rules.names)}] @name", language)
    # comments and strings have no name leaves, except inside the braces of an f-string
    return lambda text: (span for span in leaves(text) if text[slice(*span)] in names)


def _by_query(name: str, query: str, language: str) -> Matcher:
    try:
        check_query(language, query)
    except InvalidQuery as error:
        raise InvalidConcept(f"concept {name}: {error}") from error
    return partial(captures, language=language, query=query)
