"""What a child for texts answers: where an expression or a list of identifiers matches, text by text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from keyscope.contract.patterns import Regex, Span, identifier_spans


@dataclass(frozen=True, slots=True)
class Search:
    """A pattern and the texts it is looked for in."""

    regex: str | None
    identifiers: Sequence[str]
    """Looked for without an expression."""
    texts: Sequence[bytes]
    most: int
    """Most matches to find in a text."""


def answers(search: Search) -> Iterator[list[Span]]:
    """The first matches in each text."""
    regex = None if search.regex is None else Regex(search.regex)
    names = frozenset(name.encode() for name in search.identifiers)
    for text in search.texts:
        yield list(islice(regex.spans(text) if regex else identifier_spans(names, text), search.most))
