"""Characters that cannot be seen, written out."""

import unicodedata

import pytest

from keyscope.contract.texts import HIDDEN, escaped, legible, stretches

BIDI = [
    character for character in map(chr, range(0x110000)) if unicodedata.bidirectional(character) in
    {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
]  # fmt: skip


@pytest.mark.parametrize(
    "character", [*BIDI, "\x00", "\x1b", "\x85", "\x9b", "\u200e", "\u200f", "\u061c", "\u2028", "\u2029"]
)
def test_whatever_reorders_or_breaks_a_line_is_written_out(character: str) -> None:
    for written in (escaped(f"a{character}b"), legible(f"a{character}b")):
        assert written.isprintable()
        assert written.encode().decode("unicode_escape") == f"a{character}b"


def test_white_space_stays_in_text_of_several_lines() -> None:
    assert legible("a\n\tb\r\n\u202e") == "a\n\tb\\r\n\\u202e"
    assert escaped("a\n\tb") == r"a\n\tb"


@pytest.mark.parametrize("text", ["", "plain", "\t", "é數\u200d😀", "\u202ea\n\x9b\x9bb\u2066"])
def test_stretches_are_the_text_piece_by_piece(text: str) -> None:
    found = stretches(text)
    assert "".join(piece for piece, _ in found) == legible(text)
    assert sum(hidden for _, hidden in found) == len(HIDDEN.findall(text.replace("\n", "").replace("\t", "")))
