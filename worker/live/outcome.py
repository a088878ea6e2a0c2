"""Compares the code of the two branches: whether each parses, which names came and went, how far apart they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tree_sitter import Node, TreeCursor

from keyscope.contract.wire import BRANCHES, Branch, CodeBranch, CodeOutcome
from keyscope.worker.syntax.grammars import LANGUAGES, grammar, parse


class _Reading(NamedTuple):
    """A text as a grammar reads it."""

    errors: tuple[int, ...]
    """Start bytes of syntax errors, except those of an unfinished end."""
    unread: int
    """Number of syntax errors, including those of an unfinished end."""
    keywords: int
    """Number of keywords."""
    names: tuple[tuple[int, str], ...]
    """Every name with its start byte."""


def outcome(prompt: str, texts: Mapping[Branch, str], token_ids: Mapping[Branch, Sequence[int]]) -> CodeOutcome:
    """Parse prompt and continuation of both branches in the language that fits the baseline best.

    A generation may stop in the middle of a construct, so only syntax errors before the end of the text count.
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
    """The language whose grammar finds the fewest syntax errors; among equals, the most keywords."""
    readings = {language: _read(text.encode(), language) for language in LANGUAGES}
    return min(LANGUAGES, key=lambda language: (readings[language].unread, -readings[language].keywords))


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Levenshtein distance: the fewest tokens to insert, delete or replace to get from one to the other."""
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
    """Every node of a tree; without recursion, because trees of broken code can be very deep."""
    while True:
        assert cursor.node is not None
        yield cursor.node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
