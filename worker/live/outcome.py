"""What became of the code: does each branch still parse, which names came and went, how far are the branches apart?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tree_sitter import Node, TreeCursor

from keyscope.contract.wire import BRANCHES, Branch, CodeBranch, CodeOutcome
from keyscope.worker.syntax.grammars import LANGUAGES, grammar
from keyscope.worker.syntax.outline import parse


class _Reading(NamedTuple):
    """A text as a grammar reads it."""

    errors: tuple[int, ...]
    """First bytes of what cannot be read, the unfinished end left out."""
    unread: int
    """Places that cannot be read, the unfinished end among them."""
    keywords: int
    """Words that the language has for itself."""
    names: tuple[tuple[int, str], ...]
    """Every name with its first byte."""


def outcome(prompt: str, texts: Mapping[Branch, str], token_ids: Mapping[Branch, Sequence[int]]) -> CodeOutcome:
    """Prompt and continuation of both branches, read in the language that fits the baseline best.

    A text that stops in the middle of a construct is not broken there: only what cannot be read before its end counts.
    """
    language = likeliest_language(prompt + texts["baseline"])
    begin = len(prompt.encode())
    readings = {branch: _read((prompt + texts[branch]).encode(), language) for branch in BRANCHES}
    names = {
        branch: list(dict.fromkeys(name for first, name in reading.names if first >= begin))
        for branch, reading in readings.items()
    }
    known = {name for reading in readings.values() for first, name in reading.names if first < begin}
    return CodeOutcome(
        language=language,
        baseline=_branch((prompt + texts["baseline"]).encode(), begin, readings["baseline"]),
        masked=_branch((prompt + texts["masked"]).encode(), begin, readings["masked"]),
        lost=[name for name in names["baseline"] if name not in names["masked"]],
        added=[name for name in names["masked"] if name not in names["baseline"]],
        invented=[name for name in names["masked"] if name not in known and name not in names["baseline"]],
        edit_distance=edit_distance(token_ids["baseline"], token_ids["masked"]),
    )


def likeliest_language(text: str) -> str:
    """The language whose grammar has the fewest places it cannot read, of several the one with the most keywords."""
    readings = {language: _read(text.encode(), language) for language in LANGUAGES}
    return min(LANGUAGES, key=lambda language: (readings[language].unread, -readings[language].keywords))


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Fewest tokens to insert, delete or replace to come from one to the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for number, mine in enumerate(one, start=1):
        above, row[0] = row[0], number
        for place, its in enumerate(other, start=1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (mine != its))
    return row[-1]


def _branch(text: bytes, begin: int, reading: _Reading) -> CodeBranch:
    mine = [first for first in reading.errors if first >= begin]
    return CodeBranch(
        parses=not mine,
        errors=len(mine),
        first_error_line=text[: mine[0]].count(b"\n") + 1 if mine else None,
    )


def _read(text: bytes, language: str) -> _Reading:
    tree, rules = parse(text, language), grammar(language)
    assert tree is not None
    assert rules is not None
    end = len(text.rstrip())
    unread: list[tuple[int, int]] = []
    keywords = 0
    names: list[tuple[int, str]] = []
    for node in _nodes(tree.walk()):
        if node.is_error or node.is_missing:
            unread.append((node.start_byte, node.end_byte))
        elif node.type in rules.names:
            names.append((node.start_byte, text[node.start_byte : node.end_byte].decode(errors="replace")))
        elif not node.is_named and node.type.isalpha():
            keywords += 1
    errors = tuple(first for first, last in unread if last < end)
    return _Reading(errors, len(unread), keywords, tuple(names))


def _nodes(cursor: TreeCursor) -> Iterator[Node]:
    """Every node of a tree, without recursion since trees of broken code can be very deep."""
    while True:
        assert cursor.node is not None
        yield cursor.node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
