"""Windows drawn as lines of code."""

import struct
from array import array
from html.parser import HTMLParser
from typing import NamedTuple

import pytest

from keyscope.app.queries import Example, Token, Vocabulary, Window, key_triggers
from keyscope.app.queries.windows import File
from keyscope.app.runs import Run
from keyscope.app.web.code import SHADES, Heat, Line, draw
from keyscope.contract.code_parts import Part
from keyscope.contract.keys import KeyId
from tests.made.runs import FILES

SCALE = 2.0
HEAT = Heat(SCALE)


class Made(NamedTuple):
    example: Example
    vocabulary: Vocabulary

    def lines(self, whole: bool = True) -> list[Line]:
        return draw(*self, HEAT, whole=whole).lines


def window(
    tokens: list[bytes],
    trigger: int,
    coefficients: dict[int, float],
    line: int = 1,
    column: int = 0,
    special: tuple[int, ...] = (),
) -> Made:
    """A window whose tokens have their place as their id."""
    reach = len(tokens)
    context = [coefficients.get(at - reach + trigger, float("nan")) for at in range(2 * reach + 1)]
    example = Example(
        language="python",
        rank=1,
        polarity="max",
        band=None,
        quantile=None,
        coefficient=coefficients[trigger],
        line=line + b"".join(tokens[:trigger]).count(b"\n"),
        column=0,
        offset=trigger,
        trigger_index=trigger,
        window=Window(0, File("s", "p.py", "0" * 64), 0, line, column, array("I", range(len(tokens)))),
        context=struct.pack(f"<{len(context)}e", *context),
        scale=1.0,
    )
    return Made(example, Vocabulary([Token(at, token, at in special) for at, token in enumerate(tokens)]))


class Piece(NamedTuple):
    """A stretch of a line; without classes it is plain text."""

    text: str
    css: str = ""
    title: str = ""


class _Pieces(HTMLParser):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self.found: list[Piece] = []
        self._tag: dict[str, str | None] = {}
        self.feed(line.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = dict(attrs)
        self.found.append(Piece("", self._tag["class"] or "", self._tag.get("title") or ""))

    def handle_data(self, data: str) -> None:
        if self._tag:
            self.found[-1] = self.found[-1]._replace(text=data)
        else:
            self.found.append(Piece(data))

    def handle_endtag(self, tag: str) -> None:
        self._tag = {}


def pieces(line: Line) -> list[Piece]:
    return _Pieces(line).found


def text(lines: list[Line]) -> list[str]:
    return ["".join(piece.text for piece in pieces(line)) for line in lines]


def hits(lines: list[Line]) -> list[tuple[int, str]]:
    return [(line.number, piece.text) for line in lines for piece in pieces(line) if "hit" in piece.css.split()]


def test_the_lines_are_the_file_character_by_character(alpha: Run) -> None:
    files = {path: content.splitlines() for _, path, content in FILES}
    with alpha.reading() as cursor:
        found = [each for index in range(6) for each in key_triggers(cursor, alpha.windows, KeyId(0, index))]
    assert found
    for each in found:
        lines = draw(each, alpha.vocabulary, HEAT, whole=True).lines
        for line, shown in zip(lines[1:-1], text(lines)[1:-1], strict=True):
            assert shown == files[each.window.file.path][line.number - 1]
        assert text(lines)[0] in files[each.window.file.path][lines[0].number - 1]
        assert hits(lines), "the trigger token is marked"


def test_the_lines_around_a_trigger_are_those_of_its_whole_window(alpha: Run) -> None:
    with alpha.reading() as cursor:
        found = [each for index in range(6) for each in key_triggers(cursor, alpha.windows, KeyId(0, index))]
    cut = 0
    for each in found:
        near, whole = (draw(each, alpha.vocabulary, HEAT, whole=whole) for whole in (False, True))
        assert near.lines == [line for line in whole.lines if abs(line.number - each.line) <= 3]
        assert near.more == (len(near.lines) < len(whole.lines))
        assert not whole.more
        cut += near.more
    assert cut


def test_lines_around_a_trigger_are_found_across_tokens_of_several_lines() -> None:
    tokens = [b"a\n\n\n\nb\n", b"\n", b"c", b"\n\n", b"\nd\n\n\ne\n", b"f"]
    drawn = draw(*window(tokens, 2, {2: 1.0}, line=10), HEAT)
    assert [(line.number, shown) for line, shown in zip(drawn.lines, text(drawn.lines), strict=True)] == [
        (13, ""),
        (14, "b"),
        (15, ""),
        (16, "c"),
        (17, ""),
        (18, ""),
        (19, "d"),
    ]
    assert drawn.more


def test_a_run_that_ends_triggers_at_their_token_draws_nothing_after_it() -> None:
    tokens = [b"a", b"b", b"c", b"d"]
    drawn = draw(*window(tokens, 1, {1: 1.0, 2: 1.0}), HEAT, cut=True)
    assert text(drawn.lines) == ["ab"]
    assert not drawn.more


def test_the_trigger_line_is_marked_and_far_lines_wait() -> None:
    tokens = [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"f\n"]
    made = window(tokens, 5, {5: 1.0}, line=40)
    assert [line.number for line in made.lines(whole=False)] == [42, 43, 44, 45]
    assert [line.css for line in made.lines()] == ["", "", "", "", "", "here"]


def test_empty_lines_keep_their_place_and_none_is_added_at_the_end() -> None:
    lines = window([b"a\n", b"\n", b"\n\n", b"b", b"\n"], 3, {3: 1.0}).lines()
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert text(lines) == ["a", "", "", "", "b"]


def test_a_token_over_two_lines_is_shaded_on_both() -> None:
    lines = window([b"x", b"\n    ", b"y"], 1, {0: 0.1, 1: 2.0, 2: 0.2}).lines()
    assert text(lines) == ["x", "    y"]
    assert [piece.css for line in lines for piece in pieces(line)] == [
        "t s1",
        f"break t s{SHADES} hit",
        f"t s{SHADES} hit",
        "t s2 next",
    ]


def test_a_faint_line_break_has_no_sign_unless_it_follows_the_trigger() -> None:
    lines = window([b"x", b"y", b"\n", b"z"], 0, {0: 2.0, 1: 0.1, 2: 0.1}).lines()
    assert pieces(lines[0])[2].css == "t s1"
    lines = window([b"x", b"\n", b"y"], 0, {0: 2.0, 1: 0.1}).lines()
    assert pieces(lines[0])[1].css == "break t s1 next"


def test_coefficients_below_the_floor_are_not_shaded() -> None:
    heat = Heat(SCALE, floor=0.5)
    assert [heat.css(each) for each in (0.49, -0.49, 0.5, -0.5)] == ["", "", "s5", "s5 neg"]
    made = window([b"x", b"\n", b"y", b"z"], 3, {1: 0.49, 2: 0.1, 3: 2.0})
    (first, second) = draw(*made, heat, whole=True).lines
    assert [piece.css for line in (first, second) for piece in pieces(line)] == ["", "", f"t s{SHADES} hit"]
    assert second.html.startswith("y<span"), "nor has it a tag of its own"


def test_tokens_have_the_colour_of_their_part_of_the_code_where_the_shade_is_pale() -> None:
    made = window([b"for", b"for", b"for", b" 1"], 2, {1: 0.1, 2: 1.0, 3: SCALE})
    parts = bytes([Part.KEYWORD, Part.KEYWORD, Part.KEYWORD, Part.NUMBER])
    (line,) = draw(*made, HEAT, lambda end: parts[:end]).lines
    assert [piece.css for piece in pieces(line)] == ["k", "t s1 k", "t s10 hit", "t s20 next"]


def test_a_character_split_over_tokens_is_drawn_once_and_keeps_the_mark() -> None:
    first, second = bytes([0xC3]), bytes([0xA9])
    lines = window([b"caf", first, second, b"!"], 2, {1: 0.2, 2: 1.0, 3: 0.0}).lines()
    assert text(lines) == ["café!"]
    assert hits(lines) == [(1, "é")]
    assert pieces(lines[0])[1].css == f"t s{SHADES // 2} hit"


def test_text_without_coefficients_is_one_piece() -> None:
    lines = window([b"a", b"b", b"c", b"d"], 3, {3: 1.0}).lines()
    assert [piece.text for piece in pieces(lines[0])] == ["abc", "d"]


def test_a_window_that_begins_within_a_line_says_so() -> None:
    assert window([b"rest", b"\n", b"next"], 2, {2: 1.0}, line=7, column=12).lines()[0].css == "cut"


def test_control_tokens_are_not_part_of_the_code() -> None:
    assert text(window([b"<|bos|>", b"x"], 1, {1: 1.0}, special=(0,)).lines()) == ["x"]


def test_a_control_token_before_the_first_line_is_no_further_line() -> None:
    assert not draw(*window([b"<|bos|>", b"x"], 1, {1: 1.0}, special=(0,)), HEAT).more


def test_text_and_titles_are_escaped() -> None:
    (line,) = window([b"<b>", b'"&'], 1, {1: 1.0}).lines()
    assert line.html == f'&lt;b&gt;<span class="t s{SHADES // 2} hit" title="&#34;&amp;  1">&#34;&amp;</span>'


def test_each_shaded_token_shows_its_coefficient_in_words() -> None:
    lines = window([b" zeros"], 0, {0: 1.234}).lines()
    assert pieces(lines[0])[0].title == "·zeros  1.23"


@pytest.mark.parametrize(
    ("coefficient", "css"),
    [(0.0, ""), (0.01, ""), (0.1, "s1"), (1.0, "s10"), (2.0, "s20"), (9.0, "s20"), (-0.5, "s5 neg"), (-9.0, "s20 neg")],
)
def test_shades_are_even_steps_of_the_scale(coefficient: float, css: str) -> None:
    assert HEAT.css(coefficient) == css


def test_a_key_without_coefficients_has_no_shade() -> None:
    assert Heat(0.0).css(0.0) == ""


def test_hidden_characters_are_written_out_and_told_from_text_that_looks_like_them() -> None:
    made = window(["if x\u202e".encode(), b"\\u202e", "\u2066\x9b\t".encode()], 0, {0: SCALE, 2: 0.1})
    (line,) = made.lines()
    esc = '<span class="esc">{}</span>'.format
    assert 'hit" title="if·x\\u202e  2">if x' + esc(r"\u202e") + "</span>" in line.html
    assert line.html.endswith(">" + esc(r"\u2066") + esc(r"\x9b") + "\t</span>")
    assert r'<span class="next">\u202e</span>' in line.html


def test_a_lone_carriage_return_is_written_out_and_one_before_a_line_break_is_not() -> None:
    first, second = window([b"a\rb\r\n", b"c"], 1, {1: SCALE}).lines()
    assert first.html == r'a<span class="esc">\r</span>b'
    assert second.html.endswith(">c</span>")
