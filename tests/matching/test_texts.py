"""Matches in texts, as a child finds them."""

import pytest

from keyscope.contract.patterns import InvalidPattern
from keyscope.matching.process import Child
from keyscope.matching.texts import Search

HEAVY = "(?s)" + "(?:(?:.?){100}){9}" * 24 + "zz@"


def found(search: Search) -> list[object]:
    with Child("keyscope.matching.texts", 256 << 20) as child:
        return list(child.answers(search, ["it"] * len(search.texts), 20.0, lambda: None))


def test_matches_are_found_text_by_text_up_to_a_number() -> None:
    assert found(Search("a+", (), [b"a aa aaa", b"b"], 2)) == [[(0, 1), (2, 4)], []]
    assert found(Search(None, ("np",), [b"np snp np"], 9)) == [[(0, 2), (7, 9)]]


def test_an_expression_whose_automaton_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidPattern, match="pattern too large"):
        found(Search(HEAVY, (), [b"a"], 1))
