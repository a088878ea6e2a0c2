"""Places of concepts in files: spans of bytes, and the tokens that overlap them."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept, InvalidConcept
from keyscope.contract.patterns import InvalidPattern, Span
from keyscope.matching.process import Child
from keyscope.worker.concepts.spans import Search, Wanted
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.progress import Advance
from keyscope.worker.syntax.grammars import grammar
from keyscope.worker.syntax.queries import InvalidQuery

SECONDS = 10.0
"""How long a pattern may take in one file."""
MEMORY = 512 << 20
"""Bytes the matching of a file may take; the tree of the largest files takes a quarter of it."""

BoolArray = npt.NDArray[np.bool_]


class Matching:
    """Finds concepts in files; close it after use.

    Patterns are people's, so they are matched in a child process, which is killed when one takes too long or `advance`
    raises. `advance` is called with 0 while waiting, so others may use the model meanwhile.
    """

    def __init__(self) -> None:
        self._child = Child("keyscope.worker.concepts.spans", MEMORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def check(self, concepts: Iterable[Concept], languages: Iterable[str], advance: Advance) -> None:
        """Check that the concepts' patterns for these languages can be used.

        Raises:
            InvalidConcept: a language has no grammar, or a query cannot be read.
            PatternTooSlow, PatternTooLarge: reading a query takes too much.
        """
        known = list(concepts)
        for language in languages:
            self._found([each for each in known if language in each.patterns], None, language, advance)

    def spans(self, concepts: Sequence[Concept], text: bytes, language: str, advance: Advance) -> list[list[Span]]:
        """The spans of each concept in a text: first byte and the byte after the last, ascending, overlaps merged.

        Empty for a concept without a pattern for the language.

        Raises:
            InvalidConcept: the language has no grammar and the pattern needs one, or the query cannot be read.
            QueryTooBroad: a query has too many matches in progress at once.
            PatternTooSlow, PatternTooLarge: a pattern takes too much.
        """
        numbers = [number for number, each in enumerate(concepts) if language in each.patterns]
        spans: list[list[Span]] = [[] for _ in concepts]
        found = self._found([concepts[number] for number in numbers], text, language, advance)
        for number, its in zip(numbers, found, strict=True):
            spans[number] = its
        return spans

    def token_masks(
        self, concepts: Sequence[Concept], store: TokenStore, file: int, advance: Advance
    ) -> list[BoolArray]:
        """Mark the tokens of a file that overlap a span of each concept, [tokens of the file] each.

        Raises:
            InvalidConcept, QueryTooBroad, PatternTooSlow, PatternTooLarge: as for `spans`.
        """
        language = store.language_names[store.languages[file]]
        text, starts = store.text(file), store.starts[store.tokens_of(file)]
        return [tokens_in(each, starts, len(text)) for each in self.spans(concepts, text, language, advance)]

    def _found(
        self, concepts: Sequence[Concept], text: bytes | None, language: str, advance: Advance
    ) -> list[list[Span]]:
        """The child's answers for concepts that have a pattern for the language."""
        if not concepts:
            return []
        search = Search(language, text, [_wanted(each, language) for each in concepts])
        names = [f"the {language} {each.patterns[language].kind} of concept {each.name}" for each in concepts]
        found: list[list[Span]] = []
        try:
            for its in self._child.answers(search, names, SECONDS, lambda: advance(0)):
                found.append(its)
        except (InvalidPattern, InvalidQuery) as error:
            raise InvalidConcept(f"concept {concepts[len(found)].name}: {error}") from error
        return found


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


def _wanted(concept: Concept, language: str) -> Wanted:
    pattern = concept.patterns[language]
    if pattern.regex is None and grammar(language) is None:
        raise InvalidConcept(
            f"the {pattern.kind} of concept {concept.name} for {language} needs a syntax tree, but there is no grammar "
            f"for {language}: give a regular expression instead"
        )
    return Wanted(pattern.regex, pattern.query, pattern.identifiers or ())
