"""Tree-sitter queries written by users.

Patterns of `#match?` are matched by RE2, in time linear in the text. Python's `re`, which tree-sitter's binding uses,
can take exponential time. Compiling and running a query can take for ever all the same, with the interpreter locked:
people's queries belong in a child process.
"""

import re
from collections.abc import Iterator
from typing import Literal

from tree_sitter import Node, Query, QueryCursor, QueryError, Tree

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.patterns import InvalidPattern, Span, compiled_regex
from keyscope.worker.syntax.grammars import LANGUAGES, grammar

MATCH_LIMIT = 1 << 12
"""Most matches a query may have in progress at once: its cost per byte grows with them."""
MATCHES = frozenset({"match?", "not-match?", "any-match?", "any-not-match?"})
KNOWN = MATCHES | {"eq?", "not-eq?", "any-eq?", "any-not-eq?", "any-of?", "not-any-of?"}
"""Predicates that are known."""
_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"|;[^\n]*|#(?P<name>[\w.!?-]+)', re.DOTALL)
_ARGUMENTS = re.compile(r'\s+@[\w.-]+\s+"(?P<pattern>(?:[^"\\]|\\.)*)"\s*\)', re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
_OURS = "regex"
"""Name of our own `match`: equally long, so positions in error messages stay right."""


class InvalidQuery(KeyscopeError, ValueError, status=422):
    """A text is not a tree-sitter query for its language, or captures nothing."""


class QueryTooBroad(KeyscopeError, status=422):
    """A query could match a file in too many ways."""


def check_query(language: str, query: str) -> Query:
    """Compile a query.

    Raises:
        InvalidQuery: it is wrong for the language or captures nothing, or there is no grammar.
    """
    rules = grammar(language)
    if rules is None:
        raise InvalidQuery(f"there is no grammar for {language!r}: queries work for {', '.join(LANGUAGES)}")
    try:
        compiled = Query(rules.language, _with_our_matches(query))
    except QueryError as error:
        raise InvalidQuery(f"the {language} query cannot be read: {_place(error)}") from error
    if compiled.capture_count == 0:
        raise InvalidQuery("the query captures nothing: mark what to find with a name, as in (call) @found")
    return compiled


def captures(tree: Tree, query: Query) -> list[Span]:
    """The spans of everything a checked query captures in a file, ascending, each once.

    Raises:
        QueryTooBroad: it has more than MATCH_LIMIT matches in progress at once.
    """
    cursor = QueryCursor(query, match_limit=MATCH_LIMIT)
    found = cursor.captures(tree.root_node, _holds)
    if cursor.did_exceed_match_limit:
        raise QueryTooBroad(
            f"the query has over {MATCH_LIMIT:,} matches in progress at once in a file of {tree.root_node.end_byte:,} bytes: "
            "name more of its nodes, or use fewer repetitions"
        )
    return sorted({node.byte_range for nodes in found.values() for node in nodes})


def _with_our_matches(query: str) -> str:
    """Rename the matches in a query, so the binding passes them to `_holds` instead of matching them itself.

    Raises:
        InvalidQuery: a predicate is unknown, or its pattern is not valid.
    """
    changed = list(query)
    for name, first, end in _predicates(query):
        if name not in KNOWN:
            raise InvalidQuery(
                f"#{name} is not a predicate: choose from {', '.join(f'#{each}' for each in sorted(KNOWN))}"
            )
        if name in MATCHES:
            arguments = _ARGUMENTS.match(query, end)
            if arguments is None:
                raise InvalidQuery(f'#{name} takes a capture and a pattern, as in (#{name} @name "^test_")')
            _check_pattern(_unescaped(arguments["pattern"]))
            changed[first:end] = name.replace("match", _OURS)
    return "".join(changed)


def _predicates(query: str) -> Iterator[tuple[str, int, int]]:
    """Names of predicates and their positions; strings and comments are skipped."""
    for part in _PARTS.finditer(query):
        if part["name"]:
            yield part["name"], *part.span("name")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)


def _check_pattern(pattern: str) -> None:
    try:
        compiled_regex(pattern)
    except InvalidPattern as error:
        raise InvalidQuery(str(error)) from error


def _holds(
    predicate: str,
    args: list[tuple[str, Literal["capture", "string"]]],
    pattern_index: int,
    captures: dict[str, list[Node]],
) -> bool:
    """Evaluate one of our matches: with `any-` one captured node must match, else all of them."""
    (name, _), (pattern, _) = args
    wanted = "not-" not in predicate
    regex = compiled_regex(pattern)
    held = ((regex.search(node.text or b"") is not None) is wanted for node in captures.get(name, []))
    return any(held) if predicate.startswith("any-") else all(held)


def _place(error: QueryError) -> str:
    """The message with rows and columns counted from 1, as editors do."""
    return re.sub(
        r"row (\d+)(?:, column (\d+))?",
        lambda at: f"line {int(at[1]) + 1}" + (f", column {int(at[2]) + 1}" if at[2] else ""),
        str(error),
    )
