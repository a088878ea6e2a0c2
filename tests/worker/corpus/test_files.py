import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyscope.worker.corpus.files import MAX_BYTES, MAX_LINE, Skip, Skipped, printable, read_text


@pytest.mark.parametrize(
    "data",
    [
        b"x = 1\n",
        b"x = 1",
        b"if x:\r\n\ty = 2  \r\n",
        b"a\rb\r",
        b"\xef\xbb\xbfx = 1\n",
        "s = 'grün \u2028 \U0001f600'\x0c\n".encode(),
    ],
)
def test_a_text_is_the_file_to_the_last_byte(data):
    assert read_text(data).encode() == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x = '\0'\n", Skip.BINARY),
        ("x = 1\n".encode("utf-16"), Skip.BINARY),
        (b"# caf\xe9\n", Skip.UNDECODABLE),
        (b"x = '\xed\xa0\x80'\n", Skip.UNDECODABLE),
        (b"", Skip.EMPTY),
        (b" \r\n\t\n", Skip.EMPTY),
        (b"\xef\xbb\xbf\n", Skip.EMPTY),
        (b"x = 1\n" + b"y" * (MAX_LINE + 1), Skip.MINIFIED),
        (b"# @generated\nx = 1\n", Skip.GENERATED),
        (b"x = 1\n" * (MAX_BYTES // 6 + 1), Skip.TOO_LARGE),
    ],
)
def test_a_file_that_nobody_wrote_by_hand_is_skipped_with_its_reason(data, reason):
    with pytest.raises(Skipped) as skipped:
        read_text(data)
    assert skipped.value.reason == reason


def test_lines_are_measured_in_characters_and_the_limit_is_allowed():
    assert read_text(("ü" * MAX_LINE + "\n").encode())


def test_a_path_is_shown_as_one_line_of_valid_unicode():
    name = b"caf\xe9/a\nb\\c \xc3\xbc.py".decode("utf-8", "surrogateescape")
    assert printable(name) == "caf\\udce9/a\\nb\\\\c ü.py"
    assert printable("a\x9b\x85\u2028\u202egp.exe") == r"a\x9b\x85\u2028\u202egp.exe"


@given(st.text("\\n\n\udce9dc9e", max_size=6), st.text("\\n\n\udce9dc9e", max_size=6))
def test_different_paths_are_shown_differently(one, other):
    assert (printable(one) == printable(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=())))
def test_a_shown_path_can_always_be_stored(name):
    shown = printable(name)
    assert shown.encode().decode() == shown
    assert "\n" not in shown
