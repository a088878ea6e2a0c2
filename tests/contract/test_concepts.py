"""Defining concepts: what is refused and how, and what identifies a concept."""

import time

import pytest

from keyscope.contract.concepts import SHIPPED, Concept, InvalidConcept, define
from keyscope.contract.patterns import Regex, identifier_spans


def concept(**pattern: object) -> Concept:
    return define({"name": "one", "title": "One", "patterns": {"python": pattern}})


def test_a_dozen_concepts_are_shipped_each_with_a_name_of_its_own() -> None:
    assert len({each.name for each in SHIPPED}) == len(SHIPPED) == 12
    assert {language for each in SHIPPED for language in each.patterns} == {"python", "java", "go"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ({"regex": r"(a)\1"}, r"python: .*escape sequence \\1 at character 4; backreferences"),
        ({"regex": "x(?=y)"}, r"python: .*operator \(\?= at character 2; lookahead"),
        ({"regex": "(abc"}, "missing \\) at character 5"),
        ({"regex": "a*"}, "matches the empty string"),
        ({"regex": "((a{100}){100}){100}"}, "invalid repetition size"),
        ({"regex": "a" * 2001}, "2001 characters"),
        ({"identifiers": ["np", "a b"]}, "'a b', number 2"),
        ({"identifiers": []}, "1 to 500 identifiers, not 0"),
        ({"query": "  "}, "1 to 5000 characters"),
        ({"regex": "a", "query": "(b) @b"}, "not regex and query"),
        ({}, "not none"),
        ({"query": "(a) @\ud800"}, "U\\+D800 is half a character"),
        ({"regex": "a\udfff"}, "U\\+DFFF is half a character"),
        ({"identifiers": ["\ud800"]}, "U\\+D800 is half a character"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_its_language_and_place(
    pattern: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidConcept, match=said):
        concept(**pattern)


@pytest.mark.parametrize("name", ["", "Big", "a b", "-a", "a--b", "x" * 41, "../etc"])
def test_a_name_is_a_slug(name: str) -> None:
    with pytest.raises(InvalidConcept, match="name"):
        define({"name": name, "title": "T", "patterns": {"python": {"regex": "a"}}})


def test_a_pattern_that_makes_other_engines_hang_is_matched_at_once() -> None:
    began = time.monotonic()
    assert list(Regex("(a+)+$").spans(b"a" * 30_000 + b"b")) == []
    assert time.monotonic() - began < 1


def test_spans_are_bytes_of_utf8() -> None:
    assert list(Regex("数字|ï").spans("naïve 数字".encode())) == [(2, 4), (7, 13)]
    assert list(identifier_spans({"数字".encode()}, "数字 数字2 x数字".encode())) == [(0, 6)]


def test_the_definitions_hash_is_that_of_its_patterns_alone() -> None:
    first, again = concept(regex="a"), concept(regex="a").model_copy(update={"title": "Other", "description": "x"})
    assert first.sha256 == again.sha256
    assert first.sha256 != concept(regex="b").sha256 != concept(identifiers=["b"]).sha256
    assert first.part == f"one-{first.sha256[:8]}"
