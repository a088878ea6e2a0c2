"""What people's queries find, and how wrong ones are refused."""

import pytest

from keyscope.contract.patterns import Span
from keyscope.worker.syntax import queries
from keyscope.worker.syntax.grammars import parse
from keyscope.worker.syntax.queries import InvalidQuery, QueryTooBroad, check_query

CODE = b"class A:\n    def f(self):\n        if x:\n            return g(1, [h for h in y])\n\nk = lambda z: z\n"


def captures(text: bytes, language: str, query: str) -> list[Span]:
    compiled = check_query(language, query)
    tree = parse(text, language)
    assert tree is not None
    return queries.captures(tree, compiled)


def test_a_query_finds_spans_in_order_and_each_once() -> None:
    found = captures(CODE, "python", "(call function: (identifier) @name) (identifier) @any")
    assert [CODE[first:end] for first, end in found][:3] == [b"A", b"f", b"self"]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ('#match? @x "^[gh]$"', {b"g", b"h"}),
        ('#not-match? @x "^[a-zA-Z]$"', {b"self"}),
        ('#eq? @x "self"', {b"self"}),
        ('#any-of? @x "A" "k"', {b"A", b"k"}),
    ],
)
def test_predicates_narrow_a_query(predicate: str, expected: set[bytes]) -> None:
    found = captures(CODE, "python", f"((identifier) @x ({predicate}))")
    assert {CODE[first:end] for first, end in found} == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("(call", "Unexpected EOF"),
        ("\n (nosuch) @x", "line 2, column 3: nosuch"),
        ("(call nosuch: (_) @x)", "column 7: nosuch"),
        ("(call)", "captures nothing"),
        ('((identifier) @x (#match? @x "a("))', "missing [)]"),
        ('((identifier) @x (#match? @x "(?=a)"))', "lookahead"),
        ("((identifier) @x (#match? @x))", "takes a capture and a pattern"),
        ('((identifier) @x (#lua-match? @x "a"))', "#lua-match[?] is not a predicate"),
    ],
)
def test_a_wrong_query_is_named_with_its_place(query: str, message: str) -> None:
    with pytest.raises(InvalidQuery, match=message):
        captures(CODE, "python", query)


def test_strings_and_comments_of_a_query_are_not_predicates() -> None:
    query = '; see #nothing?\n((string) @x (#match? @x "#what. \\\\d"))'
    assert captures(b"a = '#what? 1'\nb = '2'\n", "python", query) == [(4, 14)]


def test_a_query_for_a_language_without_grammar_is_refused() -> None:
    with pytest.raises(InvalidQuery, match=r"cobol.*python, java, go"):
        captures(CODE, "cobol", "(call) @x")


def test_a_query_that_matches_in_too_many_ways_is_stopped() -> None:
    code = b"x = [" + b"a, " * 3000 + b"]\n"
    repeated = "(list (identifier)* @a . (identifier)* @b (identifier)* @c . (identifier)* @d (identifier) @e)"
    with pytest.raises(QueryTooBroad, match="name more of its nodes"):
        captures(code, "python", repeated)


def test_a_pattern_that_hangs_other_engines_is_quick() -> None:
    code = b"x = '" + b"a" * 5000 + b"'\n"
    assert captures(code, "python", '((string) @x (#match? @x "(a+)+$"))') == []
