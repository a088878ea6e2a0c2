"""What became of the code of two branches, judged by syntax trees."""

import random

import pytest

from keyscope.app.live.prompts import PROMPTS
from keyscope.contract.keys import KeyId, Mask
from keyscope.contract.wire import CodeOutcome
from keyscope.worker.live.generation import Generator
from keyscope.worker.live.outcome import edit_distance, likeliest_language, outcome
from tests.worker.live.driving import generate

UNFINISHED = {
    "python": "def f(n):\n    return np.zeros(n)\n\n\ndef g(x):\n    if x ==",
    "java": "public class A {\n    void f() {\n        int x = 3;\n        x +",
    "go": "func f() error {\n\tx := 3\n\tif err != nil {\n\t\treturn",
}


def of(prompt: str, baseline: str, masked: str) -> CodeOutcome:
    ids = {"baseline": list(baseline.encode()), "masked": list(masked.encode())}
    return outcome(prompt, {"baseline": baseline, "masked": masked}, ids)


@pytest.mark.parametrize("language", UNFINISHED)
def test_code_that_stops_in_the_middle_parses(language: str) -> None:
    found = of(UNFINISHED[language], "", "")
    assert found.language == language
    assert found.baseline.parses
    assert (found.baseline.errors, found.baseline.first_error_line) == (0, None)


@pytest.mark.parametrize(
    ("prompt", "broken"),
    [
        ("def f():\n", "    x = = 3\n    y = 4\n    return y\n"),
        ("public class A {\n  void f() {\n", "    int x = = 3;\n    y.foo();\n  }\n}\n"),
        ("func f() {\n", "\tx := := 3\n\ty = 4\n\tg(y)\n}\n"),
    ],
)
def test_what_is_broken_is_counted_where_it_is(prompt: str, broken: str) -> None:
    found = of(prompt, broken.replace("= =", "=").replace(":= :=", ":="), broken)
    assert found.baseline.parses
    assert not found.masked.parses
    assert found.masked.errors == 1
    assert found.masked.first_error_line == prompt.count("\n") + 1


def test_what_is_broken_in_the_prompt_is_not_held_against_the_continuation() -> None:
    found = of("x = = 3\n", "y = 4\n", "y = 5\n")
    assert found.baseline.parses
    assert found.masked.parses


def test_names_that_came_and_went_are_listed_once_in_order() -> None:
    found = of(
        "def f(items, n):\n    ", "total = sum(items)\n    return total\n", "total = limit(n)\n    return first\n"
    )
    assert found.lost == ["sum", "items"]
    assert found.added == ["limit", "n", "first"]
    assert found.invented == ["limit", "first"]


def test_the_languages_of_all_prompts_to_try_are_known_from_their_first_lines() -> None:
    assert [prompt.name for prompt in PROMPTS if likeliest_language(prompt.text) != prompt.language] == []


def test_the_distance_is_levenshteins() -> None:
    draw = random.Random(0)
    for _ in range(50):
        one, other = ([draw.randrange(4) for _ in range(draw.randrange(9))] for _ in range(2))
        table = [[max(i, j) for j in range(len(other) + 1)] for i in range(len(one) + 1)]
        for i, mine in enumerate(one, start=1):
            for j, its in enumerate(other, start=1):
                table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (mine != its))
        assert edit_distance(one, other) == table[-1][-1]


def test_a_generation_ends_with_its_outcome(nano_generator: Generator) -> None:
    same = generate(nano_generator).done.code
    assert same is not None
    assert (same.language, same.edit_distance, same.lost, same.added) == ("python", 0, [], [])
    other = generate(nano_generator, masks=[Mask(KeyId(7, index)) for index in range(600)]).done.code
    assert other is not None
    assert other.edit_distance > 0


def test_hostile_text_is_read_in_a_moment() -> None:
    for text in ("(" * 20_000, "\x00\udfff".encode(errors="replace").decode(), "'" * 5001, "\n" * 999):
        assert of(text, text, "").language in UNFINISHED
