"""Windows drawn as lines of code."""

import pytest

from keyscope.app.queries import Example, Token, WindowToken, key_triggers
from keyscope.app.queries.examples import window_tokens
from keyscope.app.runs import Run
from keyscope.app.web.code import SHADES, Line, code_lines, shade
from keyscope.contract.keys import KeyId
from tests.made.runs import FILES

SCALE = 2.0


def window(
    tokens: list[bytes], trigger: int, coefficients: dict[int, float], line: int = 1, column: int = 0
) -> Example:
    values = [coefficients.get(at) for at in range(len(tokens))]
    drawn = window_tokens([Token(at, token) for at, token in enumerate(tokens)], values, line, column)
    return example(drawn, trigger)


def example(drawn: list[WindowToken], trigger: int) -> Example:
    return Example(
        language="python",
        rank=1,
        polarity="max",
        band=None,
        quantile=None,
        coefficient=drawn[trigger].coefficient or 0.0,
        source="s",
        path="p.py",
        file_sha256="0" * 64,
        window_id=0,
        start=0,
        line=drawn[trigger].line,
        column=drawn[trigger].column,
        trigger_index=trigger,
        tokens=drawn,
    )


def text(lines: list[Line]) -> list[str]:
    return ["".join(piece.text for piece in line.pieces) for line in lines]


def hits(lines: list[Line]) -> list[tuple[int, str]]:
    return [(line.number, piece.text) for line in lines for piece in line.pieces if "hit" in piece.css.split()]


def test_the_lines_are_the_file_character_by_character(alpha: Run) -> None:
    files = {path: content.splitlines() for _, path, content in FILES}
    with alpha.reading() as cursor:
        found = [each for index in range(6) for each in key_triggers(cursor, alpha.vocabulary, KeyId(0, index))]
    assert found
    for each in found:
        lines = code_lines(each, SCALE)
        for line, shown in zip(lines[1:-1], text(lines)[1:-1], strict=True):
            assert shown == files[each.path][line.number - 1]
        assert text(lines)[0] in files[each.path][lines[0].number - 1]
        assert hits(lines), "the trigger token is marked"


def test_the_trigger_line_is_marked_and_far_lines_wait() -> None:
    tokens = [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"f\n"]
    lines = code_lines(window(tokens, 5, {5: 1.0}, line=40), SCALE)
    assert [line.number for line in lines] == [40, 41, 42, 43, 44, 45]
    assert [line.far for line in lines] == [True, True, False, False, False, False]
    assert lines[5].css == "here"


def test_empty_lines_keep_their_place_and_none_is_added_at_the_end() -> None:
    lines = code_lines(window([b"a\n", b"\n", b"\n\n", b"b", b"\n"], 3, {3: 1.0}), SCALE)
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert text(lines) == ["a", "", "", "", "b"]


def test_a_token_over_two_lines_is_shaded_on_both() -> None:
    lines = code_lines(window([b"x", b"\n    ", b"y"], 1, {0: 0.1, 1: 2.0, 2: 0.2}), SCALE)
    assert text(lines) == ["x", "    y"]
    assert [piece.css for line in lines for piece in line.pieces] == [
        "t s1",
        f"t s{SHADES} hit break",
        f"t s{SHADES} hit",
        "t s2",
    ]


def test_a_faint_line_break_has_no_sign() -> None:
    lines = code_lines(window([b"x", b"\n", b"y"], 0, {0: 2.0, 1: 0.1}), SCALE)
    assert lines[0].pieces[1].css == "t s1"


def test_a_character_split_over_tokens_is_drawn_once_and_keeps_the_mark() -> None:
    first, second = bytes([0xC3]), bytes([0xA9])
    lines = code_lines(window([b"caf", first, second, b"!"], 2, {1: 0.2, 2: 1.0, 3: 0.0}), SCALE)
    assert text(lines) == ["café!"]
    assert hits(lines) == [(1, "é")]
    assert lines[0].pieces[1].css == f"t s{SHADES // 2} hit"


def test_text_without_coefficients_is_one_piece() -> None:
    lines = code_lines(window([b"a", b"b", b"c", b"d"], 3, {3: 1.0}), SCALE)
    assert [piece.text for piece in lines[0].pieces] == ["abc", "d"]


def test_a_window_that_begins_within_a_line_says_so() -> None:
    assert code_lines(window([b"rest", b"\n", b"next"], 2, {2: 1.0}, line=7, column=12), SCALE)[0].css == "cut"


def test_control_tokens_are_not_part_of_the_code() -> None:
    drawn = [
        WindowToken(Token(9, b"<|bos|>", special=True), "<|bos|>", None, 1, 0),
        WindowToken(Token(1, b"x"), "x", 1.0, 1, 0),
    ]
    assert text(code_lines(example(drawn, 1), SCALE)) == ["x"]


def test_each_shaded_token_shows_its_coefficient_in_words() -> None:
    lines = code_lines(window([b" zeros"], 0, {0: 1.234}), SCALE)
    assert lines[0].pieces[0].title == "·zeros  1.23"


@pytest.mark.parametrize(
    ("coefficient", "css"),
    [(0.0, ""), (0.01, ""), (0.1, "s1"), (1.0, "s10"), (2.0, "s20"), (9.0, "s20"), (-0.5, "s5 neg"), (-9.0, "s20 neg")],
)
def test_shades_are_even_steps_of_the_scale(coefficient: float, css: str) -> None:
    assert shade(coefficient, SCALE) == css


def test_a_key_without_coefficients_has_no_shade() -> None:
    assert shade(0.0, 0.0) == ""
