"""Findings: rules applied to made figures, told on a page, in JSON and as a table."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient
from scipy import stats

from app.findings import agreement, concepts, syntax
from app.findings.finding import Measured, Rate, Verdict, judged, rank_correlation, tried
from app.findings.report import CLAIMS, findings, markdown
from contract.analyses.kinds import KINDS
from contract.manifest import Manifest
from contract.runfile import open_run, read_manifest


@pytest.fixture
def manifest(runs_dir: Path) -> Manifest:
    with open_run(runs_dir / "alpha.duckdb") as connection:
        return read_manifest(connection)


@pytest.fixture
def made() -> Iterator[duckdb.DuckDBPyConnection]:
    """Empty tables of every kind of analysis, to be filled."""
    with duckdb.connect() as connection:
        for tables in KINDS.values():
            for table in tables:
                connection.execute(table.ddl())
        yield connection


def _agree(connection: duckdb.DuckDBPyConnection, measure: str, rates: list[float], margin: float = 0.01) -> None:
    for layer, rate in enumerate(rates):
        connection.execute(
            "INSERT INTO agreement (measure, split, part, layer, estimate, low, high, n, files) "
            "VALUES (?, 'all', 'all', ?, ?, ?, ?, 1000, 10)",
            [measure, layer, rate, max(0, rate - margin), min(1, rate + margin)],
        )


def _verdict(measured: Measured | None) -> Verdict:
    assert measured is not None
    assert measured.text
    return measured.verdict


def test_claims_without_figures_are_not_computed(runs_dir: Path) -> None:
    with open_run(runs_dir / "alpha.duckdb") as connection:
        found = findings(connection.cursor(), read_manifest(connection))
    assert [each.claim for each in found] == list(CLAIMS)
    for each in found:
        assert (each.measured.verdict is Verdict.MISSING) == (not each.measured.text)
        assert each.measured.verdict is Verdict.MISSING or each.claim.kind is None


def test_negative_numbers_have_a_minus_and_words_their_hyphens(manifest: Manifest) -> None:
    measured = Measured("feed-forward at top-1: -0.5 points (-1.0 to +0.2), 3-4 of 5", Verdict.EXPECTED)
    claim = replace(CLAIMS[0], measure=lambda _cursor, _manifest: measured)
    with duckdb.connect() as cursor:
        (found,) = tried([claim], cursor, manifest)
    assert found.measured.text == "feed-forward at top-1: −0.5 points (−1.0 to +0.2), 3-4 of 5"


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ([0.05, 0.2, 0.6, 1.0], Verdict.EXPECTED),
        ([0.4, 0.5, 0.6, 1.0], Verdict.INCONCLUSIVE),
        ([0.05, 0.2, 0.6, 0.99], Verdict.NOT),
        ([0.9, 0.8, 0.7, 1.0], Verdict.INCONCLUSIVE),
    ],
)
def test_agreement_has_to_rise_to_all_of_it(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, rates: list[float], verdict: Verdict
) -> None:
    _agree(made, "residual", rates)
    assert _verdict(agreement.residual(made, manifest)) is verdict


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.7, 0.1, 0.05, 0.15), Verdict.EXPECTED),
        ((0.6, 0.1, 0.2, 0.1), Verdict.INCONCLUSIVE),
        ((0.2, 0.1, 0.1, 0.6), Verdict.NOT),
    ],
)
def test_the_residual_has_to_decide_most(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, shares: tuple[float, ...], verdict: Verdict
) -> None:
    for name, share in zip(("residual", "agreement", "ffn", "composition"), shares, strict=True):
        made.execute(
            "INSERT INTO agreement (measure, split, part, estimate, low, high, n, files) "
            "VALUES (?, 'all', 'all', ?, ?, ?, 1000, 10)",
            [f"split_{name}", share, share - 0.01, share + 0.01],
        )
    measured = agreement.split(made, manifest)
    assert _verdict(measured) is verdict
    assert measured is not None
    assert f"residual {100 * shares[0]:.1f} % ({100 * shares[0] - 1:.1f}–{100 * shares[0] + 1:.1f})" in measured.text


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [(2.0, 3.0, Verdict.EXPECTED), (3.0, 2.0, Verdict.NOT), (2.0, 2.1, Verdict.INCONCLUSIVE)],
)
def test_depth_has_to_grow_with_context(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, first: float, last: float, verdict: Verdict
) -> None:
    for size, depth in ((2, first), (256, last)):
        made.execute(
            "INSERT INTO agreement_contexts VALUES (?, 'depth', NULL, ?, ?, ?, 100, 10)",
            [size, depth, depth - 0.1, depth + 0.1],
        )
    assert _verdict(agreement.context(made, manifest)) is verdict


@pytest.mark.parametrize(
    ("share", "entropy", "verdict"),
    [(-0.1, 0.1, Verdict.EXPECTED), (0.1, -0.1, Verdict.NOT), (-0.1, -0.1, Verdict.INCONCLUSIVE)],
)
def test_shallow_keys_have_to_lie_below(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, share: float, entropy: float, verdict: Verdict
) -> None:
    for measure, difference in (("token_share", share), ("entropy", entropy)):
        made.execute(
            "INSERT INTO syntax_trends VALUES (?, 100, ?, ?, ?, 0, -0.01, 0.01)",
            [measure, difference, difference - 0.02, difference + 0.02],
        )
    assert _verdict(syntax.shallow(made, manifest)) is verdict


@pytest.mark.parametrize(
    ("change", "excess", "contrast", "verdict"),
    [(-0.3, -0.2, -0.2, Verdict.EXPECTED), (-0.3, 0.0, -0.2, Verdict.NOT), (0.0, 0.1, 0.1, Verdict.NOT)],
)
def test_an_edit_has_to_be_selective_by_both_comparisons(
    made: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    change: float,
    excess: float,
    contrast: float,
    verdict: Verdict,
) -> None:
    made.execute("INSERT INTO edits (edit, title, picker, keys) VALUES ('e', 'Loops', 'fdr', 5)")
    made.execute("INSERT INTO edit_conditions (edit, condition, role, main, keys) VALUES ('e', 1, 'dose', true, 5)")
    made.execute(
        'INSERT INTO edit_effects (edit, condition, "group", places, accuracy_change, accuracy_low, accuracy_high) '
        "VALUES ('e', 1, 'concept', 50, ?, ?, ?)",
        [change, change - 0.1, change + 0.1],
    )
    made.execute(
        'INSERT INTO edit_controls (edit, "group", control, measure, excess, excess_low, excess_high) '
        "VALUES ('e', 'concept', 'matched', 'accuracy', ?, ?, ?)",
        [excess, excess - 0.1, excess + 0.1],
    )
    made.execute(
        "INSERT INTO edit_contrasts VALUES ('e', 1, 'general', 'accuracy', ?, ?, ?)",
        [contrast, contrast - 0.1, contrast + 0.1],
    )
    assert _verdict(concepts.edit(made, manifest)) is verdict


def test_an_edit_measured_in_too_few_files_shows_nothing(made: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    made.execute("INSERT INTO edits (edit, title, picker, keys) VALUES ('e', 'Loops', 'fdr', 5)")
    for condition, role in ((1, "dose"), (2, "range")):
        made.execute(
            "INSERT INTO edit_conditions (edit, condition, role, main, keys) VALUES ('e', ?, ?, true, 5)",
            [condition, role],
        )
        made.execute(
            'INSERT INTO edit_effects (edit, condition, "group", places, accuracy_change) '
            "VALUES ('e', ?, 'concept', 28, -0.6), ('e', ?, 'near', 90, -0.2)",
            [condition, condition],
        )
    made.execute(
        'INSERT INTO edit_controls (edit, "group", control, measure, excess) '
        "VALUES ('e', 'concept', 'matched', 'accuracy', -0.6)"
    )
    made.execute("INSERT INTO edit_contrasts VALUES ('e', 1, 'general', 'accuracy', -0.5, NULL, NULL)")
    for claim in (concepts.edit, concepts.doses, concepts.ranges):
        measured = claim(made, manifest)
        assert _verdict(measured) is Verdict.INCONCLUSIVE
        assert measured is not None
        assert "-60.0 points (too few files for an interval)" in measured.text
        assert "nan" not in measured.text


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert Rate(-0.001, -0.004, 0.2).number() == "0.00 (0.00 to 0.20)"
    assert Rate(-0.0004, -0.02, 0.0004).change(1, " points", 100) == "0.0 points (-2.0 to +0.0)"


def test_intervals_have_to_be_apart() -> None:
    assert not Rate.of([0.5, None, None]).above(Rate(0.2, 0.1, 0.3))
    assert not Rate(0.5, 0.4, 0.6).above(Rate.of([0.2, None, None]))
    assert Rate(0.5, 0.4, 0.6).above(Rate(0.2, 0.1, 0.3))
    assert not Rate(0.5, 0.3, 0.6).above(Rate(0.2, 0.1, 0.3))
    assert (judged(True, False), judged(False, True), judged(False, False)) == (
        Verdict.EXPECTED,
        Verdict.NOT,
        Verdict.INCONCLUSIVE,
    )


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0, 2.0], [5.0, 4.0, 4.0, 1.0, 0.5]])
def test_the_rank_correlation_is_spearmans(values: list[float]) -> None:
    assert rank_correlation(values) == pytest.approx(stats.spearmanr(range(len(values)), values).statistic)


def test_the_page_says_what_is_claimed_and_what_computes_it(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/findings")
    assert page.status_code == 200
    for claim in CLAIMS:
        assert claim.title in page.text.replace("&#39;", "'")
    assert "keyscope analyse runs/alpha.duckdb agreement" in page.text


def test_the_api_has_every_claim(reader: TestClient) -> None:
    answer = reader.get("/api/v1/runs/alpha/findings").json()
    assert answer["ok"]
    assert [each["title"] for each in answer["findings"]] == [claim.title for claim in CLAIMS]


def test_the_table_has_a_row_for_every_claim(runs_dir: Path) -> None:
    with open_run(runs_dir / "alpha.duckdb") as connection:
        lines = markdown(findings(connection.cursor(), read_manifest(connection))).splitlines()
    assert len(lines) == 2 + len(CLAIMS)
    assert all(line.count(" | ") >= 3 for line in lines[2:])
