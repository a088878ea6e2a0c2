"""Lines that stand in many files are found whatever their white space and numbers."""

import random
from pathlib import Path

import pytest

from keyscope.worker.corpus.boilerplate import marked_lines, repeated_lines
from tests.worker.corpus.trees import code, gather_from, write_tree

HEADER = [
    "/*",
    " * Copyright (c) 2020 by the authors of this code",
    " *",
    " * or visit our page at www.example.com if you have",
    " * questions.",
    " */",
]


def _code(seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["    " + "".join(draw.choices("abcdefghij", k=30)) + "();" for _ in range(5)]


def _marks(texts: list[list[str]], tmp_path: Path) -> list[list[bool]]:
    whole = ["\n".join(lines) for lines in texts]
    repeated = repeated_lines(whole, len(whole), tmp_path)
    return [marked_lines(text, repeated).tolist() for text in whole]


@pytest.mark.parametrize(("copies", "marked"), [(7, False), (8, True), (60, True)])
def test_a_header_is_marked_with_its_short_lines_once_eight_files_have_it(
    tmp_path: Path, copies: int, marked: bool
) -> None:
    texts = [HEADER + _code(number) for number in range(copies)] + [_code(1000 + number) for number in range(20)]
    found = _marks(texts, tmp_path)
    assert found[:copies] == [[marked] * len(HEADER) + [False] * 5] * copies
    assert found[copies:] == [[False] * 5] * 20


def test_in_many_files_a_line_needs_two_per_cent_of_them(tmp_path: Path) -> None:
    for copies, marked in ((9, False), (10, True)):
        texts = [(HEADER if number < copies else []) + _code(number) for number in range(500)]
        assert any(_marks(texts, tmp_path)[0]) is marked


def test_white_space_and_numbers_are_alike(tmp_path: Path) -> None:
    texts = [[f"\t# Copyright  {1990 + number} by us all {' ' * number}", *_code(number)] for number in range(8)]
    assert all(marks[0] for marks in _marks(texts, tmp_path))


def test_a_line_counts_once_a_file_and_short_lines_alone_are_never_marked(tmp_path: Path) -> None:
    texts = [_code(0) * 9, *([["{", "}", "", "return 1", *_code(number)] for number in range(1, 20)])]
    assert not any(map(any, _marks(texts, tmp_path)))


def test_a_gathered_corpus_knows_the_repeated_lines_of_each_language(tmp_path: Path) -> None:
    header = "# this line stands in every file of the tree\n"
    files = {f"{number}.py": header + code(number) for number in range(9)} | {"one.go": header + code(100)}
    tree = write_tree(tmp_path / "tree", files)
    gathered = gather_from(tree, scratch=tmp_path / "scratch")
    assert {language: len(lines) for language, lines in gathered.repeated.items() if lines} == {"python": 1}
    assert gather_from(tree, scratch=tmp_path / "scratch", keep_boilerplate=True).repeated == {}
