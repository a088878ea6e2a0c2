"""The parts of pages that compute: numbers in words, statistics, histograms, figures."""

import math
import re

import pytest

from keyscope.app.pages.keys import bars, histogram
from keyscope.app.pages.keys import figures as drawing
from keyscope.app.queries import SORT_COLUMNS, LayerMap, LayerSummary, Token, TokenLogit, ValueTokens
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.statistics import GROUPS, OVERVIEW, statistic
from keyscope.contract import bins
from keyscope.contract.runfile import KEY_STATISTICS, MOMENTS, WEIGHT_STATISTICS


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (7.921, "7.92"),
        (-0.17, "−0.17"),
        (1250.4, "1,250"),
        (3.14e-6, "3.1e-6"),
        (-2.5e7, "−2.5e7"),
        (0.001, "0.001"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.0183, "1.8 %"),
        (0.00034, "0.034 %"),
        (0.62, "62 %"),
        (0.999, "100 %"),
        (2e-7, "2e-5 %"),
    ],
)
def test_shares_are_percentages_of_two_digits(value: float | None, text: str) -> None:
    assert formats.share(value).replace("\N{NARROW NO-BREAK SPACE}", " ") == text


def test_white_space_of_tokens_is_visible() -> None:
    assert formats.token(Token(0, b"\n\t x")) == "⏎⇥·x"
    assert formats.token(Token(0, bytes([0xC3]))) == "0xc3"
    assert formats.token(Token(0, b"\x1b[0m")) == "\\x1b[0m"
    assert formats.token(Token(0, "a\u202eb\x9b\u2028".encode())) == r"a\u202eb\x9b\u2028"


def test_languages_are_spelt_as_people_do() -> None:
    assert [formats.language(name) for name in ("python", "cpp", None)] == ["Python", "C++", "–"]


def test_every_statistic_of_the_contract_is_in_one_group_and_has_help() -> None:
    grouped = [each.name for group in GROUPS for each in group.statistics]
    assert sorted(grouped) == sorted(column.name for column in (*MOMENTS, *KEY_STATISTICS, *WEIGHT_STATISTICS))
    assert all(each.help and each.title for group in (OVERVIEW, *GROUPS) for each in group.statistics)
    assert set(grouped) | {"index"} == set(SORT_COLUMNS)


def test_statistics_are_written_by_their_kind(alpha: Run) -> None:
    values = {"firing_rate": 0.5, "dead": True, "n": 1200, "top_language": "go", "top_token_id": 1, "bias": None}
    shown = {name: statistic(name).show(values, alpha.vocabulary) for name in values}
    assert shown["firing_rate"] == formats.share(0.5)
    assert shown["dead"] == "yes"
    assert shown["n"] == "1,200"
    assert shown["top_language"] == "Go"
    assert shown["top_token_id"] == formats.token(alpha.vocabulary[1])
    assert shown["bias"] == "–"


def test_a_histogram_has_one_bar_a_filled_bin_on_its_side_of_zero() -> None:
    counts = [0] * bins.N_BINS
    counts[bins.HALF - 3], counts[bins.HALF], counts[bins.HALF + 10] = 5, 1, 99
    drawing = histogram.draw(counts)
    assert drawing is not None
    assert [bar.css for bar in drawing.bars] == ["below", "above", "above"]
    assert all(bar.x >= 0 and bar.x + bar.width <= drawing.width for bar in drawing.bars)
    assert drawing.bars[2].height == pytest.approx(max(bar.height for bar in drawing.bars))
    assert drawing.bars[1].height / drawing.bars[2].height == pytest.approx(math.log1p(1) / math.log1p(99), abs=0.02)
    assert "99 sampled tokens" in drawing.bars[2].title
    assert re.match(r"95\W% of 105", drawing.summary)


def test_a_histogram_of_one_side_still_shows_zero() -> None:
    counts = [0] * bins.N_BINS
    counts[bins.HALF - 2] = 7
    drawing = histogram.draw(counts)
    assert drawing is not None
    assert drawing.ticks[-1].text == formats.number(bins.edges()[bins.HALF + 1])


def test_nothing_counted_is_no_histogram() -> None:
    assert histogram.draw([0] * bins.N_BINS) is None


def test_the_map_has_every_key_once_and_the_silent_ones_apart() -> None:
    keys = LayerMap(
        firing_rate=[0.5, 0.0, 0.1],
        maximum=[3.0, -0.1, 2.0],
        top_language=["go", None, "python"],
    )
    figure = drawing.map_of_layer("L0", keys, {"python": "Python", "go": "Go"})
    assert {trace.name: list(trace.customdata) for trace in figure.data} == {
        "Python": [2],
        "Go": [0],
        "never fires": [1],
    }
    assert figure.data[2].x[0] == pytest.approx(0.05)
    assert all(trace.type == "scattergl" for trace in figure.data)


def test_the_languages_of_a_layer_are_stacked_by_name() -> None:
    layers = [LayerSummary(0, 2, 0, {"go": 0.25, "python": 0.75}, 0.1, 0.1, 9.0, 9.0, 3.0, 1.0)]
    figure = drawing.languages_by_layer(layers, {"python": "Python", "go": "Go"})
    assert [(trace.name, trace.y[0]) for trace in figure.data] == [("Python", 0.75), ("Go", 0.25)]
    assert figure.layout.barmode == "stack"


def test_bars_are_percentages_of_the_longest_on_either_side() -> None:
    value = ValueTokens([TokenLogit(Token(1, b"a"), 1.0)], [TokenLogit(Token(2, b"\n"), -4.0)])
    (promoted,), (suppressed,) = bars.of_value(value, lambda token: f"/{token.token_id}")
    assert (promoted.length, promoted.value, promoted.href) == (25, "+1", "/1")
    assert (suppressed.length, suppressed.value, suppressed.token) == (100, "−4", "⏎")
    assert suppressed.title.startswith("\\n (token 2)")


def test_a_value_of_zeros_has_the_shortest_bars() -> None:
    (promoted,), _ = bars.of_value(ValueTokens([TokenLogit(Token(1, b"a"), 0.0)]), lambda _: "/")
    assert (promoted.length, promoted.value) == (1, "0")
