import pytest

from keyscope.app.pages.demo.columns import before_loop, column
from keyscope.contract.wire import BranchResult, GeneratedToken


def branch(tokens: str) -> BranchResult:
    made = [GeneratedToken(token=each, token_id=ord(each), logprob=-1.0, top=[]) for each in tokens]
    return BranchResult(text=tokens, tokens=made)


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ("", ""),
        ("abcdefgh", "abcdefgh"),
        ("return nnnnnnnnnnnn", "return nnnn"),
        ("x, y, y, y, y, y, y", "x, y, y"),
        ("abcabcabcabcabc", "abcabc"),
        ("get_ten_get_ten_get_ten_", "get_ten_"),
        ("abab", "abab"),
    ],
)
def test_a_text_ends_before_it_repeats_itself(tokens: str, kept: str) -> None:
    assert tokens[: before_loop(branch(tokens).tokens)] == kept


def test_tokens_without_a_partner_are_marked_and_cut_columns_say_so() -> None:
    shown = column("masked", "without", branch("np.ab()"), branch("np.cd()"))
    assert [(piece.text, piece.differs) for piece in shown.pieces] == [("np.", False), ("ab", True), ("()", False)]
    assert not shown.repeats
    looped = column("masked", "without", branch("aaaaaaaa"), branch("b"))
    assert ([(piece.text, piece.differs) for piece in looped.pieces], looped.repeats) == ([("aaaa", True)], True)
