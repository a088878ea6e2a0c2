"""What each token is as code."""

import re

import pytest

from keyscope.contract.code_parts import Part, parts

C, K, M, S, N, D = Part.CODE, Part.KEYWORD, Part.COMMENT, Part.STRING, Part.NUMBER, Part.DEFINED


def of_words(text: str, language: str, **more: bool) -> dict[str, Part]:
    """The part of each word of a text, with the white space before it as in a model's tokens."""
    words = re.findall(r"\s*\S+|\s+$", text)
    return {word.strip(): Part(part) for word, part in zip(words, parts(words, language, **more), strict=True)}


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", 'def f (x): # why\n return "so" + 12', {"def": K, "f": D, "(x):": C, "why": M, '"so"': S, "12": N}),
        ("python", 'def f():\n    """It does."""\n    pass', {'"""It': M, 'does."""': M, "pass": K}),
        (
            "java",
            'class A { /* b */ int c = 1; String d = "e"; }',
            {"class": K, "A": D, "b": M, "c": C, "1;": N, '"e";': S},
        ),
        ("go", "func f () { // g\n}", {"func": K, "g": M, "}": C}),
    ],
)
def test_a_token_is_what_its_first_character_is(language: str, text: str, expected: dict[str, Part]) -> None:
    found = of_words(text, language, begins_file=True)
    assert {word: found[word] for word in expected} == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", 'prose and more.\n    """\n    code = 1'),
        ("python", 'prose on its last line."""\n    code = 1'),
        ("java", " * prose\n */\n int code = 1;"),
        ("go", "prose */ code := 1"),
    ],
)
def test_a_window_that_begins_inside_a_comment_is_read_as_one(language: str, text: str) -> None:
    found = of_words(text, language)
    assert (found["prose"], found["code"]) == (M, C)
    assert of_words(text, language, begins_file=True)["prose"] is not M, "a file does not begin inside one"


@pytest.mark.parametrize(
    "text",
    [
        'x = """a string"""',
        'def f():\n    """\n    prose\n    """',
        'f("""a""")',
        '    """Opens on a line of its own."""',
    ],
)
def test_quotes_that_open_a_string_are_not_taken_for_its_end(text: str) -> None:
    assert of_words("code = 1\n" + text, "python")["code"] is C


def test_a_language_that_no_lexer_knows_is_all_code() -> None:
    assert parts(["if", " x"], "of nobody") == bytes(2)


def test_tokens_without_text_are_code() -> None:
    assert parts(["", "# a", "", "\n"], "python") == bytes([C, M, C, C])


@pytest.mark.parametrize("language", ["java", "go"])
def test_a_window_that_ends_inside_a_comment_is_read_as_one_to_its_end(language: str) -> None:
    found = of_words("code = 1; /* prose\n * more", language)
    assert (found["code"], found["prose"], found["more"]) == (C, M, M)
