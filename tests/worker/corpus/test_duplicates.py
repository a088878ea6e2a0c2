import numpy as np

from keyscope.worker.corpus.duplicates import Clusters, word_shingles
from tests.worker.corpus.trees import code

LICENCE = "/*\n" + "".join(f" * word{n} of a long licence text\n" for n in range(60)) + " */\n"


def groups(*texts: str) -> list[int]:
    clusters = Clusters()
    for text in texts:
        clusters.add(text.encode())
    found = [clusters.group_of(file) for file in range(len(texts))]
    assert len(clusters) == len(set(found))
    return [found.index(group) for group in found]


def changed(text: str, line: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:line], "other = words\n", *lines[line + 1 :]])


def test_files_with_a_line_changed_share_a_group_and_others_do_not():
    one, other = code(1), code(2)
    assert groups(one, other, changed(one, 30), changed(other, 10)) == [0, 1, 0, 1]


def test_white_space_and_punctuation_do_not_set_files_apart():
    assert groups("a = b + c\nd = e\n", "a=b+c;\n\n\td=e") == [0, 0]


def test_a_file_between_two_groups_joins_them():
    start = code(1, words=400)
    middle = start
    for line in (0, 20, 40):
        middle = changed(middle, line)
    far = middle
    for line in (60, 80, 100, 120):
        far = changed(far, line)
    assert groups(start, far) == [0, 1]
    assert groups(start, far, middle) == [0, 0, 0]


def test_a_shared_licence_does_not_make_short_files_alike():
    assert groups(LICENCE + "package a;\nclass One { int one; }\n", LICENCE + "package b;\nclass Two {}\n") == [0, 1]
    assert groups(LICENCE, LICENCE + "\n") == [0, 0]


def test_files_without_words_are_alone():
    assert groups("{}\n", "{}\n\n", "()\n") == [0, 1, 2]


def test_shingles_are_distinct_and_depend_on_the_order_of_words():
    assert len(word_shingles(b"a b c d e f a b c d e")) == 6
    assert len(word_shingles(b"a b")) == 1
    assert not np.array_equal(word_shingles(b"a b"), word_shingles(b"b a"))


def test_similarity_near_the_threshold_is_estimated_closely():
    """Many pairs clearly above or below the threshold are all told apart."""
    for seed in range(40):
        text = code(seed, words=600)
        above, below = text, text
        for line in range(3):
            above = changed(above, line * 70 + 3)
        for line in range(40):
            below = changed(below, line * 7 + 3)
        assert groups(text, above) == [0, 0]
        assert groups(text, below) == [0, 1]
