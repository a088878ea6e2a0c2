import json
import math
import random
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from keyscope.app import queries
from keyscope.app.errors import InvalidParameter, UnknownKey, UnknownLayer
from keyscope.app.queries.blocks import Blocks
from keyscope.app.queries.examples import trigger_tokens
from keyscope.app.queries.key_rows import _code_line
from keyscope.app.queries.keys import numbers_of_tables
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.runs import Run
from keyscope.contract import bins
from keyscope.contract.bins import N_BINS
from keyscope.contract.contexts import context_coefficients
from keyscope.contract.key_documents import FIRST, LONGEST
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import KEY_STATISTICS, MOMENTS, WEIGHT_STATISTICS, open_run
from tests.made.runs import FILES

KEY = KeyId(1, 2)
SOURCES = {path: text for _, path, text in FILES}
OF_DOCUMENTS = 'SELECT document FROM key_documents WHERE layer = ? AND "index" = ?'
BROKEN = (
    "NULL",
    "'not compressed'::BLOB",
    *(
        f"unhex('{zlib.compress(text.encode()).hex()}')"
        for text in ("no JSON", "[]", json.dumps({"statistics": {"mean": []}}), " " * (LONGEST + 1))
    ),
)


def all_examples(run: Run) -> list[queries.Example]:
    keys = [
        KeyId(layer, index) for layer, size in enumerate(run.manifest.model.keys_per_layer) for index in range(size)
    ]
    with run.reading() as cursor:
        found = []
        for key in keys:
            found += queries.key_triggers(cursor, run.windows, key)
            found += queries.key_samples(cursor, run.windows, key)
        return found


@pytest.mark.parametrize("name", ["alpha", "gated"])
def test_every_window_is_the_text_of_its_file_at_its_line_and_column(name: str, request: pytest.FixtureRequest):
    run: Run = request.getfixturevalue(name)
    for window in (example.window for example in all_examples(run)):
        text = "".join(run.vocabulary.decode(window.token_ids))
        lines = SOURCES[window.file.path].split("\n")
        rest = "\n".join([lines[window.line - 1][window.column :], *lines[window.line :]])
        # A window may end inside a character, which then shows as replacement characters.
        assert rest.startswith(text.rstrip("\ufffd").lstrip("\ufffd"))


def test_the_trigger_token_is_where_the_run_file_says(alpha: Run):
    for example in all_examples(alpha):
        window = example.window
        before = "".join(alpha.vocabulary.decode(window.token_ids)[: example.trigger_index])
        trigger = alpha.vocabulary[window.token_ids[example.trigger_index]]
        inside = trigger.bytes[0] in range(0x80, 0xC0)  # of a character, whose column it then has
        column = len(before.rpartition("\n")[2]) + (0 if "\n" in before else window.column) - inside
        assert example.line == window.line + before.count("\n")
        # A window that begins inside a character begins with U+FFFD, once for each byte.
        assert example.column == column or "\ufffd" in before
        assert example.coefficients[example.trigger_index] == example.coefficient
        bos = alpha.vocabulary.n_special(window.token_ids[: example.trigger_index])
        assert example.offset == window.start + example.trigger_index - bos


def test_a_bos_is_special_has_no_text_and_no_coefficient(alpha: Run, gated: Run):
    for example in all_examples(alpha):
        assert alpha.vocabulary[example.window.token_ids[0]].special
        assert alpha.vocabulary.decode(example.window.token_ids)[0] == ""
        assert example.coefficients[0] is None
    assert not any(gated.vocabulary.n_special(example.window.token_ids) for example in all_examples(gated))


def test_coefficients_stand_beside_the_trigger_and_nowhere_else(alpha: Run):
    context = alpha.manifest.settings.context
    for example in all_examples(alpha):
        for at, (token_id, coefficient) in enumerate(zip(example.window.token_ids, example.coefficients, strict=True)):
            near = abs(at - example.trigger_index) <= context and not alpha.vocabulary[token_id].special
            assert (coefficient is not None) == near


def test_the_same_token_has_the_same_coefficient_in_every_example(alpha: Run):
    with alpha.reading() as cursor:
        found = queries.key_triggers(cursor, alpha.windows, KEY) + queries.key_samples(cursor, alpha.windows, KEY)
    seen: dict[tuple[str, int], float] = {}
    for example in found:
        for at, coefficient in enumerate(example.coefficients):
            if coefficient is not None:
                value = seen.setdefault((example.window.file.path, example.window.start + at), coefficient)
                assert coefficient == pytest.approx(value, rel=2e-3, abs=2e-3)


def test_triggers_come_by_rank_the_strongest_first(gated: Run):
    with gated.reading() as cursor:
        found = queries.key_triggers(cursor, gated.windows, KeyId(2, 3), "python", "max")
        lowest = queries.key_triggers(cursor, gated.windows, KeyId(2, 3), "python", "min")
    assert [example.rank for example in found] == [1, 2]
    assert found[0].coefficient >= found[1].coefficient
    assert lowest[0].coefficient <= lowest[1].coefficient < found[1].coefficient
    assert {example.polarity for example in lowest} == {"min"}


def test_samples_are_chosen_by_band(alpha: Run):
    with alpha.reading() as cursor:
        found = queries.key_samples(cursor, alpha.windows, KEY, band="50-60")
    assert found
    assert {example.band for example in found} == {"50-60"}
    assert all(0.5 <= (example.quantile or 0) < 0.8 for example in found)


def test_context_is_scaled_little_endian_half_floats_with_nothing_outside_the_window():
    context = np.array([np.nan, 0.5, 1.0, -0.25, np.nan], "<f2").tobytes()
    assert context_coefficients(context, 8.0, 1, 4) == [4.0, 8.0, -2.0, None]
    assert context_coefficients(context, 8.0, 3, 4) == [None, None, 4.0, 8.0]


@pytest.mark.parametrize("kind", ["max", "random"])
def test_first_examples_of_all_languages_are_the_first_of_each(alpha: Run, kind: str):
    with alpha.reading() as cursor:
        some = queries.first_examples(cursor, alpha.windows, KEY, kind, limit=2)
        every = queries.first_examples(cursor, alpha.windows, KEY, kind)
        of_each = [
            each
            for language in alpha.manifest.languages
            for each in queries.first_examples(cursor, alpha.windows, KEY, kind, language)
        ]
    assert some == every[:2]
    assert len(every) == len(of_each) >= 3
    order = (lambda each: -each.coefficient) if kind == "max" else (lambda each: each.rank)
    assert [order(each) for each in every] == sorted(order(each) for each in of_each)


def test_windows_read_before_are_not_read_again(alpha: Run):
    with alpha.reading() as cursor:
        found = alpha.windows.find(cursor, [0, 1, 0])
        assert list(found) == [0, 1]
    assert alpha.windows.find(None, [1])[1] is found[1]  # type: ignore[arg-type] - asks no cursor


def test_statistics_have_every_column_of_the_contract_and_never_nan(alpha: Run, gated: Run):
    names = [column.name for column in WEIGHT_STATISTICS + MOMENTS + KEY_STATISTICS]
    for run in (alpha, gated):
        with run.reading() as cursor:
            statistics = queries.key_statistics(cursor, KEY)
        assert list(statistics) == names
        assert not any(isinstance(value, float) and math.isnan(value) for value in statistics.values())


def test_histograms_count_every_token_and_window_of_a_language(alpha: Run):
    with alpha.reading() as cursor:
        found = {histogram.language: histogram for histogram in queries.histograms(cursor, KEY)}
    for counts in alpha.manifest.corpus.languages:
        assert len(found[counts.language].tokens) == N_BINS
        assert sum(found[counts.language].tokens) == counts.tokens
        assert sum(found[counts.language].windows) == counts.windows


def test_language_statistics_add_up_to_the_whole(alpha: Run):
    with alpha.reading() as cursor:
        whole = queries.key_statistics(cursor, KEY)
        parts = [each.statistics for each in queries.language_statistics(cursor, KEY)]
    assert sum(part["n"] for part in parts) == whole["n"]
    assert max(part["maximum"] for part in parts) == whole["maximum"]


def test_values_promote_from_the_top_and_suppress_from_the_bottom(alpha: Run):
    with alpha.reading() as cursor:
        written = queries.value_tokens(cursor, alpha.vocabulary, KEY)
    for value in written.values():
        promoted, suppressed = [each.logit for each in value.promoted], [each.logit for each in value.suppressed]
        assert promoted == sorted(promoted, reverse=True)
        assert suppressed == sorted(suppressed)
        assert promoted[-1] > suppressed[-1]


def test_the_commonest_token_comes_first_in_what_a_key_fires_on(alpha: Run):
    with alpha.reading() as cursor:
        counts = [each.count for each in queries.fires_on(cursor, alpha.vocabulary, KEY)]
    assert counts
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("column", queries.SORT_COLUMNS)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_layer_sorts_by_every_column_with_missing_values_last(gated: Run, column: str, order: str):
    with gated.reading() as cursor:
        page = queries.layer_page(cursor, gated.vocabulary, 2, sort=queries.LayerSort(column, order))
    values = [row.key.index if column == "index" else row.statistics[column] for row in page.rows]
    present = [value for value in values if value is not None]
    assert values[len(present) :] == [None] * (len(values) - len(present))
    assert present == sorted(present, reverse=order == "desc")
    assert len(values) == 5


@pytest.mark.parametrize("column", ["layer", 'index"; DROP TABLE keys; --', "", "nothing"])
def test_a_column_that_is_none_is_refused_with_the_list_of_those_there_are(column: str):
    with pytest.raises(InvalidParameter, match="firing_rate"):
        queries.LayerSort(column)


def test_pages_of_a_layer_join_to_the_whole(alpha: Run):
    with alpha.reading() as cursor:
        whole = queries.layer_page(cursor, alpha.vocabulary, 0)
        parts = [queries.layer_page(cursor, alpha.vocabulary, 0, limit=4, offset=offset) for offset in (0, 4, 8)]
    assert [row.key for part in parts for row in part.rows] == [row.key for row in whole.rows]
    assert {part.total for part in parts} == {6}


def test_filters_keep_exactly_the_keys_that_pass(alpha: Run):
    with alpha.reading() as cursor:
        whole = queries.layer_page(cursor, alpha.vocabulary, 1).rows
        where = queries.LayerFilter(language="python", min_firing_rate=0.1, max_firing_rate=0.3)
        page = queries.layer_page(cursor, alpha.vocabulary, 1, where)
    expected = [
        row.key
        for row in whole
        if row.statistics["top_language"] == "python" and 0.1 <= row.statistics["firing_rate"] <= 0.3
    ]
    assert expected
    assert [row.key for row in page.rows] == expected
    assert page.total == len(expected)


def test_keys_are_found_by_the_exact_token_they_fire_on(alpha: Run):
    with alpha.reading() as cursor:
        by_token = {
            notation: [
                row.key
                for row in queries.layer_page(cursor, alpha.vocabulary, 0, queries.LayerFilter(token=notation)).rows
            ]
            for notation in (r"\n", ".", " self", "self", "Self")
        }
        fires_on = {
            KeyId(0, index): {each.token.bytes for each in queries.fires_on(cursor, alpha.vocabulary, KeyId(0, index))}
            for index in range(6)
        }
        unknown = queries.layer_page(cursor, alpha.vocabulary, 0, queries.LayerFilter(token="Self"))
    for notation, keys in by_token.items():
        assert set(keys) == {key for key, tokens in fires_on.items() if queries.parse_token(notation) in tokens}
    assert by_token[r"\n"]
    assert not unknown.token_known
    assert unknown.total == 0


@pytest.mark.parametrize("name", ["alpha", "gated"])
def test_each_row_has_the_strongest_trigger_in_its_line_of_code(name: str, request: pytest.FixtureRequest):
    run: Run = request.getfixturevalue(name)
    with run.reading() as cursor:
        for layer in range(run.manifest.model.n_layers):
            for row in queries.layer_page(cursor, run.vocabulary, layer).rows:
                triggers = queries.key_triggers(cursor, run.windows, row.key, polarity="max")
                best = max(triggers, key=lambda example: example.coefficient)
                texts, at = run.vocabulary.decode(best.window.token_ids), best.trigger_index
                assert row.top is not None
                assert (row.top.path, row.top.line, row.top.column) == (best.window.file.path, best.line, best.column)
                assert row.top.coefficient == row.statistics["maximum"]
                assert row.top.text == texts[at]
                assert row.top.before == "".join(texts[:at]).split("\n")[-1]
                assert row.top.after == "".join(texts[at + 1 :]).split("\n")[0]


@pytest.mark.parametrize(
    ("position", "line"),
    [
        (0, ("", "if x", ":")),
        (1, ("if x", ":", "")),
        (2, ("if x:", "\n    ", "go()")),
        (3, ("    ", "go", "()")),
        (5, ("    go()", "\n", "")),
    ],
)
def test_a_line_of_code_ends_at_its_breaks_and_a_break_is_followed_by_the_next_line(
    position: int, line: tuple[str, str, str]
):
    tokens = [b"if x", b":", b"\n    ", b"go", b"()", b"\n", b"\n\n", b"end"]
    vocabulary = Vocabulary([Token(token_id, data) for token_id, data in enumerate(tokens)])
    code = _code_line(("python", 1.0, position, 1, 0, "a.py", list(range(len(tokens)))), vocabulary)
    assert (code.before, code.text, code.after) == line


def test_a_key_that_is_never_above_zero_still_has_triggers(alpha: Run):
    with alpha.reading() as cursor:
        statistics = queries.key_statistics(cursor, KeyId(1, 5))
        triggers = queries.key_triggers(cursor, alpha.windows, KeyId(1, 5))
    assert statistics["dead"]
    assert triggers
    assert all(example.coefficient < 0 for example in triggers)


def test_the_map_has_every_key_of_the_layer(alpha: Run):
    with alpha.reading() as cursor:
        drawn = queries.layer_map(cursor, 1)
        rows = queries.layer_page(cursor, alpha.vocabulary, 1, sort=queries.LayerSort("index", "asc")).rows
    assert len(drawn.firing_rate) == len(drawn.maximum) == len(drawn.top_language) == 6
    assert drawn.firing_rate == [row.statistics["firing_rate"] for row in rows]
    assert drawn.maximum == [row.statistics["maximum"] for row in rows]


def test_layers_are_summed_up_from_their_keys(alpha: Run):
    with alpha.reading() as cursor:
        summaries = queries.layer_summaries(cursor)
        rows = queries.layer_page(cursor, alpha.vocabulary, 1).rows
    rates = [row.statistics["firing_rate"] for row in rows]
    assert [summary.layer for summary in summaries] == [0, 1]
    assert summaries[1].n_keys == 6
    assert summaries[1].dead == 1
    assert summaries[1].mean_firing_rate == pytest.approx(np.mean(rates))
    assert summaries[1].median_firing_rate == pytest.approx(np.median(rates))
    assert sum(summaries[1].languages.values()) == pytest.approx(1)


def test_the_most_specific_and_the_strongest_keys_lead(alpha: Run):
    with alpha.reading() as cursor:
        specific = queries.specific_keys(cursor, alpha.vocabulary, limit=4)
        strongest = queries.strongest_keys(cursor, alpha.vocabulary, limit=20)
    kurtosis = [row.statistics["kurtosis"] for row in specific]
    contribution = [row.statistics["contribution"] for row in strongest]
    assert len(specific) == 4
    assert kurtosis == sorted(kurtosis, reverse=True)
    assert len(strongest) == 12
    assert contribution == sorted(contribution, reverse=True)
    assert all(row.top is not None and row.promoted for row in specific)


def test_neighbours_end_at_the_edges_of_the_model(alpha: Run):
    corner = queries.neighbours(alpha.manifest, KeyId(0, 0))
    assert (corner.previous, corner.next, corner.below, corner.above) == (None, KeyId(0, 1), None, KeyId(1, 0))
    other = queries.neighbours(alpha.manifest, KeyId(1, 5))
    assert (other.previous, other.next, other.below, other.above) == (KeyId(1, 4), None, KeyId(0, 5), None)


def test_a_neighbour_in_a_narrower_layer_is_its_last_key(alpha: Run):
    model = alpha.manifest.model.model_copy(update={"keys_per_layer": [6, 3]})
    manifest = alpha.manifest.model_copy(update={"model": model})
    assert queries.neighbours(manifest, KeyId(0, 5)).above == KeyId(1, 2)


def test_layers_and_keys_outside_the_run_are_refused_with_the_range(alpha: Run):
    with pytest.raises(UnknownLayer, match="0 to 1"):
        queries.check_layer(alpha.manifest, 2)
    with pytest.raises(UnknownLayer):
        queries.check_layer(alpha.manifest, -1)
    with pytest.raises(UnknownKey, match=r"L1\.K0 to L1\.K5") as caught:
        queries.check_key(alpha.manifest, KeyId(1, 6))
    assert caught.value.exists.n_keys == 6


def test_any_key_of_the_run_may_be_drawn(gated: Run):
    random.seed(0)
    drawn = {queries.random_key(gated.manifest) for _ in range(400)}
    assert drawn == {KeyId(layer, index) for layer in range(3) for index in range(5)}


def test_a_share_of_the_coefficients_above_zero_lies_below_their_quantile() -> None:
    counts = [0] * bins.N_BINS
    counts[bins.HALF - 3] = 1000  # below zero: not counted
    at = bins.edges().index(1.0)
    counts[at], counts[at + 1] = 30, 70  # 1 to 1.5, and 1.5 to 2
    assert queries.quantile_above_zero(counts, 0.3) == 1.5
    assert queries.quantile_above_zero(counts, 0.65) == 1.75
    assert queries.quantile_above_zero([0] * bins.N_BINS, 0.8) == 0.0
    counts[-1] = 1_000_000
    assert queries.quantile_above_zero(counts, 0.8) == 2.0**bins.HIGHEST_EXPONENT


def test_the_trigger_tokens_of_a_key_are_those_of_its_triggers_the_strongest_first(alpha: Run) -> None:
    key = KeyId(0, 1)
    with alpha.reading() as cursor:
        found = trigger_tokens(cursor, key)
        triggers = queries.key_triggers(cursor, alpha.windows, key)
    expected = []
    for each in sorted(triggers, key=lambda each: (-abs(each.coefficient), each.language, each.polarity, each.rank)):
        ids = each.window.token_ids
        after = ids[each.trigger_index + 1] if each.trigger_index + 1 < len(ids) else None
        expected.append((each.language, each.polarity, ids[each.trigger_index], after))
    assert found == expected != []


@pytest.mark.parametrize("name", ["alpha", "gated"])
def test_the_document_of_a_key_has_the_numbers_of_all_tables(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    with run.reading() as cursor:
        for layer, size in enumerate(run.manifest.model.keys_per_layer):
            for index in range(size):
                key = KeyId(layer, index)
                assert len(cursor.execute(OF_DOCUMENTS, [layer, index]).fetchall()) == 1
                found = queries.key_numbers(cursor, Blocks(9), run.vocabulary, key)
                assert found == numbers_of_tables(cursor, run.vocabulary, key)


def test_the_first_triggers_of_a_document_are_those_of_the_table(alpha: Run, gated: Run) -> None:
    for run in (alpha, gated):
        with run.reading() as cursor:
            for layer, size in enumerate(run.manifest.model.keys_per_layer):
                for key in (KeyId(layer, index) for index in range(size)):
                    first = run.numbers(cursor, key).first
                    assert first is not None
                    read = queries.first_examples(cursor, run.windows, key, "max", limit=FIRST)
                    without = [replace(each, context=b"") for each in read[1:]]
                    assert queries.of_document(cursor, run.windows, first) == [*read[:1], *without] != []


def test_a_run_without_documents_or_with_broken_ones_shows_the_same_numbers(alpha: Run, tmp_path: Path) -> None:
    broken = {"DROP TABLE key_documents", *(f"UPDATE key_documents SET document = {each}" for each in BROKEN)}
    with alpha.reading() as cursor:
        expected = queries.key_numbers(cursor, Blocks(9), alpha.vocabulary, KEY)
    for number, change in enumerate(broken):
        path = Path(shutil.copy(alpha.path, tmp_path / f"{number}.duckdb"))
        with duckdb.connect(str(path)) as connection:
            connection.execute(change)
        with open_run(path) as connection:
            assert queries.key_numbers(connection, Blocks(9), alpha.vocabulary, KEY) == expected, change
