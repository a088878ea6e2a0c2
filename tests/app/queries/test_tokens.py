import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyscope.app.queries.tokens import Token, Vocabulary, parse_token
from keyscope.contract.token_text import decode


def test_a_token_of_whole_characters_is_its_text():
    assert Token(1, b" zeros").text == " zeros"
    assert Token(1, b" zeros").hex is None


def test_a_token_that_is_no_utf8_by_itself_shows_replacement_characters_and_its_bytes():
    token = Token(1, "é".encode()[:1])
    assert token.text == "\ufffd"
    assert token.hex == "c3"


def test_a_character_split_over_tokens_stands_where_its_first_byte_is():
    first, second, third = (bytes([byte]) for byte in "→".encode())
    assert decode([b"a", first, second, third, b"b"]) == ["a", "→", "", "", "b"]


def test_a_token_may_end_one_character_and_begin_the_next():
    text = "é→".encode()
    assert decode([text[:1], text[1:3], text[3:]]) == ["é", "→", ""]


def test_bytes_that_no_neighbour_completes_are_replaced_one_by_one():
    assert decode([b"\xff", b"a", b"\xc3", b"b"]) == ["\ufffd", "a", "\ufffd", "b"]


@given(st.lists(st.binary(max_size=4), max_size=8))
def test_joined_texts_are_the_text_of_the_joined_bytes(tokens):
    whole = b"".join(tokens)
    replaced = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in whole.decode(errors="surrogateescape"))
    assert "".join(decode(tokens)) == replaced


@given(st.text(max_size=12), st.integers(0, 40), st.integers(0, 40))
def test_text_cut_anywhere_comes_back_whole(text, one, two):
    data = text.encode(errors="ignore")
    low, high = sorted((one, two))
    texts = decode([data[:low], data[low:high], data[high:]])
    assert "".join(texts) == data.decode()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("self", b"self"),
        (" self", b" self"),
        ("    ", b"    "),
        (r"\n    ", b"\n    "),
        (r"\t", b"\t"),
        (r"\\n", b"\\n"),
        (r"\xe2\x86", b"\xe2\x86"),
        (r"\d", b"\\d"),
        ("é", "é".encode()),
    ],
)
def test_a_token_is_read_as_it_is_written(written, meant):
    assert parse_token(written) == meant


@given(st.binary(max_size=8))
def test_every_token_has_a_notation_on_one_line_that_reads_back(data):
    notation = Token(1, data).notation
    assert "\n" not in notation
    assert "\r" not in notation
    assert parse_token(notation) == data


def test_tokens_are_found_by_exact_bytes_and_control_tokens_never():
    vocabulary = Vocabulary(
        [Token(0, b"<eos>", special=True), Token(1, b"<eos>"), Token(2, b"self"), Token(3, b"Self")]
    )
    assert vocabulary.ids(b"self") == [2]
    assert vocabulary.ids(b"<eos>") == [1]
    assert vocabulary.ids(b"absent") == []


def test_an_id_outside_the_vocabulary_shows_as_a_control_token():
    token = Vocabulary([])[7]
    assert token.special
    assert token.text == "<7>"


@pytest.mark.parametrize(
    ("text", "at", "within"),
    [
        ("for i in", 1, True),
        ("for i in", 3, True),
        ("for i in", 0, False),
        ("for i in", 4, False),
        ("or i in", 2, False),
        ("for i i", 2, False),
        ("\n for i", 0, True),
        ("in range", 4, True),
    ],
)
def test_tokens_in_a_row_begin_and_end_where_tokens_do_after_a_blank_or_not(text: str, at: int, within: bool):
    tokens = (b"\n", b" for", b" i", b" in", b" range")
    words = Vocabulary([Token(number, token) for number, token in enumerate(tokens)])
    assert words.is_within(range(5), at, text.encode()) is within
