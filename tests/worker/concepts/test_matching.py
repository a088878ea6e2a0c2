"""Matches of concepts in real text: code outside strings, multibyte characters, line ends, edges of tokens."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from keyscope.contract.concepts import SHIPPED, Concept, InvalidConcept, define
from keyscope.contract.patterns import Span
from keyscope.matching.process import PatternTooLarge
from keyscope.worker.concepts import matching
from keyscope.worker.concepts.matching import Matching, tokens_in
from keyscope.worker.corpus.files import SourceFile
from keyscope.worker.precompute.token_store import TokenStore, open_tokens, write_tokens
from tests.worker.models import tiny_tokenizer

MATCHING = Matching()
NAMED = {each.name: each for each in SHIPPED}
PYTHON = '''\
import numpy as np  # np is numpy
"""np in a text"""
x = f"np {np.pi} numpy"
for value in [y for y in np.ones(3)]:
    snp.np_ = np2
'''


def concept(language: str = "python", **pattern: object) -> Concept:
    return define({"name": "one", "title": "One", "patterns": {language: pattern}})


@pytest.fixture(scope="module", autouse=True)
def one_child() -> Iterator[None]:
    with MATCHING:
        yield


def spans(given: Concept, text: bytes, language: str) -> list[Span]:
    (found,) = MATCHING.spans([given], text, language, lambda _done: None)
    return found


def check(given: Concept, languages: Iterable[str]) -> None:
    MATCHING.check([given], languages, lambda _done: None)


def texts(given: Concept, text: str, language: str = "python") -> list[str]:
    data = text.encode()
    return [data[slice(*span)].decode() for span in spans(given, data, language)]


def store(folder: Path, *contents: str, language: str = "python") -> TokenStore:
    files = [
        SourceFile(language, "made", f"{n}.py", text, hashlib.sha256(text.encode()).hexdigest(), "made")
        for n, text in enumerate(contents)
    ]
    write_tokens(folder, files, tiny_tokenizer(), lambda _n: None)
    return open_tokens(folder)


def test_identifiers_are_whole_and_outside_comments_and_strings() -> None:
    found = spans(NAMED["numpy"], PYTHON.encode(), "python")
    assert [PYTHON[a:b] for a, b in found] == ["numpy", "np", "np", "np"]
    assert PYTHON[: found[2][0]].endswith('f"np {')


def test_everything_a_query_captures_belongs_to_the_concept() -> None:
    assert texts(NAMED["loops"], PYTHON) == ["for", "for"]
    assert texts(concept(query='((identifier) @name (#match? @name "^np[0-9]"))'), PYTHON) == ["np2"]


def test_overlapping_spans_are_one() -> None:
    assert texts(NAMED["strings"], 'f"a {"b"} c" + "d"') == ['f"a {"b"} c"', '"d"']


def test_a_language_without_a_pattern_has_no_spans() -> None:
    assert spans(NAMED["numpy"], b"np := 1", "go") == []


@pytest.mark.parametrize(
    ("name", "language", "text", "expected"),
    [
        ("imports", "go", 'package a\n\nimport (\n\t"fmt"\n)\n', ['import (\n\t"fmt"\n)']),
        ("imports", "java", "import java.util.List;\nclass A {}", ["import java.util.List;"]),
        ("error-handling", "java", "class A { void f() throws E { try { } finally { throw e; } } }", None),
        ("error-handling", "go", "if err != nil { return fmt.Errorf(x) }", ["err != nil", "fmt.Errorf"]),
        ("goroutines", "go", "package a\nfunc f(c chan int) { go g(); c <- 1; <-c }", ["chan", "go", "<-", "<-"]),
        ("java-main", "java", "public  static void main(String[] a)", ["public  static void main("]),
        ("oncreate", "java", "super.onCreateView(b)", ["onCreateView"]),
        ("http", "python", "url = 'HTTPS://x'; requests.get(u)", ["HTTPS", "requests.get"]),
        ("file-io", "java", "class A { File f = new File(path); /* File */ }", ["File", "File"]),
        ("tests", "go", "func TestX(t *testing.T) { t.Fatalf(y) }", ["func TestX", "*testing.T", "t.Fatalf"]),
        ("logging", "python", "logger.info(x)", ["logger.info"]),
    ],
)
def test_shipped_concepts_match_what_they_describe(
    name: str, language: str, text: str, expected: list[str] | None
) -> None:
    expected = ["throws", "try", "finally", "throw"] if expected is None else expected
    assert texts(NAMED[name], text, language) == expected


def test_spans_count_bytes_with_any_line_end_and_multibyte_characters() -> None:
    text = "é = 'ï'\r\nimport os\r\n# 数字\r\nimport sys"
    found = spans(concept(regex=r"(?m)^import \w+"), text.encode(), "python")
    assert [text.encode()[a:b] for a, b in found] == [b"import os", b"import sys"]
    assert texts(concept(identifiers=["é"]), text) == ["é"]


@pytest.mark.parametrize(
    ("given", "language", "said"),
    [
        (concept(query="(no_such_node) @a"), "python", "concept one: the python query cannot be read"),
        (concept(query="(identifier"), "python", "concept one: the python query"),
        (concept(query="(identifier)"), "python", "captures nothing"),
        (concept("cobol", identifiers=["a"]), "cobol", "no grammar for cobol"),
    ],
)
def test_a_pattern_that_a_language_cannot_use_is_named(given: Concept, language: str, said: str) -> None:
    with pytest.raises(InvalidConcept, match=said):
        check(given, [language])


def test_a_file_that_takes_too_much_memory_is_an_error_that_names_the_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MEMORY", 64 << 20)
    with (
        Matching() as bounded,
        pytest.raises(PatternTooLarge, match="the python query of concept one needs more than 64 MB"),
    ):
        bounded.spans([concept(query="(identifier) @x")], b"a = b + c\n" * 200_000, "python", lambda _done: None)


def test_every_shipped_pattern_can_be_used() -> None:
    for each in SHIPPED:
        check(each, each.patterns)


def test_tokens_overlap_a_span_as_counted_one_by_one() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        edges = np.sort(random.choice(40, size=random.integers(2, 12), replace=False))
        starts, length = edges[:-1].astype(np.uint32), int(edges[-1])
        cuts = np.unique(random.integers(0, 40, size=6))
        found = [(int(a), int(b)) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
        ends = [*starts[1:], length]
        expected = [any(a < e and b > s for a, b in found) for s, e in zip(starts, ends, strict=True)]
        assert tokens_in(found, starts, length).tolist() == expected


def test_tokens_across_the_edge_of_a_span_belong_to_it(tmp_path: Path) -> None:
    text = "x = naïve数字\n"
    tokens = store(tmp_path, text)
    (mask,) = MATCHING.token_masks([concept(regex="ïve数")], tokens, 0, lambda _done: None)
    starts = tokens.starts[tokens.tokens_of(0)].astype(int)
    ends = [*starts[1:], len(text.encode())]
    first, last = 6, 13
    assert mask.tolist() == [s < last and e > first for s, e in zip(starts, ends, strict=True)]
    assert 0 < mask.sum() < len(mask)
