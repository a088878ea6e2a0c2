"""Roles of tokens in three languages, in broken code and without a grammar."""

import re

import numpy as np
import pytest

from keyscope.worker.syntax.roles import Role, continues, token_roles

PYTHON = '''import numpy as np
from a.b import c

class Point(Base):
    size: int = 3

    def move(self, by: List[int], *rest) -> np.ndarray:
        """A doc."""
        self.x, y = by.left, f"at {rest!r:>3}!"
        return np.zeros(y, dtype=int).sum() if not y else None  # done
'''
JAVA = """package a.b;
import java.util.List;
@Test public class Foo<T extends Bar> {
  private int count = 3;
  void add(String name) throws Failed {
    List<String> all = new ArrayList<>();
    this.count += all.size();
  }
}
"""
GO = """package main
import "fmt"
type Point struct { X int }
func (p *Point) Move(by int) error {
	old := p.X
	fmt.Println("moved", Point{X: old}, 'c')
	return nil
}
"""


def _spans(text: str) -> list[tuple[int, str]]:
    """Split into words with a leading blank, signs and white space, as a byte-level tokenizer does."""
    return [(found.start(), found[0]) for found in re.finditer(r"\n|\t| ?[\w]+| (?= )|[^\w\s]| ", text)]


def _roles(text: str, language: str) -> list[tuple[str, Role]]:
    spans = _spans(text)
    codes = token_roles(text.encode(), language, np.array([start for start, _ in spans], dtype=np.uint32))
    return [(token.strip(" "), tuple(Role)[code]) for (_, token), code in zip(spans, codes, strict=True)]


@pytest.mark.parametrize(
    ("text", "language", "role", "tokens"),
    [
        (PYTHON, "python", Role.IDENTIFIER_IMPORTED, "numpy np a b c"),
        (PYTHON, "python", Role.IDENTIFIER_DEFINED, "Point size move self by rest y"),
        (PYTHON, "python", Role.TYPE, "Base int List int ndarray"),
        (PYTHON, "python", Role.CALL_TARGET, "zeros sum"),
        (PYTHON, "python", Role.ATTRIBUTE, "x left dtype"),
        (PYTHON, "python", Role.KEYWORD, "import as from import class def return if not else None"),
        (PYTHON, "python", Role.IDENTIFIER_USED, "np self by rest np y int y"),
        (PYTHON, "python", Role.NUMBER, "3"),
        (JAVA, "java", Role.IDENTIFIER_IMPORTED, "java util List"),
        (JAVA, "java", Role.IDENTIFIER_DEFINED, "a b Foo T count add name all"),
        (JAVA, "java", Role.TYPE, "Test Bar int void String Failed List String"),
        (JAVA, "java", Role.CALL_TARGET, "ArrayList size"),
        (JAVA, "java", Role.ATTRIBUTE, "count"),
        (JAVA, "java", Role.OPERATOR, "@ = = + ="),
        (GO, "go", Role.IDENTIFIER_IMPORTED, "fmt"),
        (GO, "go", Role.IDENTIFIER_DEFINED, "main Point X p Move by old"),
        (GO, "go", Role.TYPE, "int Point int error Point"),
        (GO, "go", Role.CALL_TARGET, "Println"),
        (GO, "go", Role.ATTRIBUTE, "X X"),
        (GO, "go", Role.KEYWORD, "package import type struct func return nil"),
    ],
)
def test_a_token_has_the_role_its_place_in_the_tree_gives_it(text: str, language: str, role: Role, tokens: str) -> None:
    assert [token for token, found in _roles(text, language) if found is role] == tokens.split()


def test_everything_in_a_string_is_string_except_embedded_code() -> None:
    text = "x = f'at {y + 1:>3}'  # a 'note'\n"
    found = _roles(text, "python")
    assert found[3:] == [
        ("f", Role.STRING),
        ("'", Role.STRING),
        ("at", Role.STRING),
        ("", Role.WHITESPACE),
        ("{", Role.PUNCTUATION),
        ("y", Role.IDENTIFIER_USED),
        ("", Role.WHITESPACE),
        ("+", Role.OPERATOR),
        ("1", Role.NUMBER),
        (":", Role.STRING),
        (">", Role.STRING),
        ("3", Role.STRING),
        ("}", Role.PUNCTUATION),
        ("'", Role.STRING),
        ("", Role.WHITESPACE),
        ("", Role.WHITESPACE),
        ("#", Role.COMMENT),
        ("a", Role.COMMENT),
        ("", Role.WHITESPACE),
        ("'", Role.COMMENT),
        ("note", Role.COMMENT),
        ("'", Role.COMMENT),
        ("\n", Role.WHITESPACE),
    ]


def test_white_space_opening_a_line_is_indentation_and_a_line_break_is_not() -> None:
    text = b"if a:\n    \tb  \n\n  c"
    starts = np.array([0, 2, 3, 5, 6, 8, 10, 11, 12, 14, 15, 16, 18], dtype=np.uint32)
    roles = [tuple(Role)[code] for code in token_roles(text, "python", starts)]
    assert [number for number, role in enumerate(roles) if role is Role.INDENTATION] == [4, 5, 6, 11]
    assert [number for number, role in enumerate(roles) if role is Role.WHITESPACE] == [1, 3, 8, 9, 10]
    assert roles[2] is Role.IDENTIFIER_USED


def test_broken_code_keeps_the_roles_of_its_whole_parts() -> None:
    found = dict(_roles("def f(:\n  )) x = 'a\nimport os\n", "python"))
    assert found["def"] is Role.KEYWORD
    assert found["import"] is Role.KEYWORD
    assert found["os"] is Role.IDENTIFIER_IMPORTED


def test_a_language_without_grammar_has_only_white_space_and_other() -> None:
    found = _roles("let x =\n  1", "rust")
    assert {role for _, role in found} == {Role.OTHER, Role.WHITESPACE, Role.INDENTATION}


@pytest.mark.parametrize("text", ["", "\n", "((((" * 20_000, "naïve = '🙂'\n"])
def test_any_text_has_a_role_for_every_token(text: str) -> None:
    data = text.encode()
    roles = token_roles(data, "python", np.arange(0, len(data), 2, dtype=np.uint32))
    assert len(roles) == (len(data) + 1) // 2


def test_a_token_inside_a_word_continues_it() -> None:
    starts = np.array([0, 3, 6, 7, 9, 12, 15], dtype=np.uint32)
    #                  get Num (  x_ é1   ' n'
    text = "getNum(x_é1 no".encode()
    assert continues(text, starts).tolist() == [False, True, False, False, True, False, False]
    assert not continues(text, np.array([0, 12], dtype=np.uint32)).any()
