"""Findings: rules applied to made figures, told on a page, in JSON and as a table."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from fastapi.testclient import TestClient
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from keyscope.app.analyses.agreement import claims as agreement
from keyscope.app.analyses.claim import (
    Finding,
    Measured,
    Verdict,
    among,
    beyond_chance,
    change,
    judged,
    number,
    percent,
    rank_correlation,
    tried,
)
from keyscope.app.analyses.edits import claims as edits
from keyscope.app.analyses.edits.judging import Conclusion
from keyscope.app.analyses.edits.judging import Verdict as EditVerdict
from keyscope.app.analyses.firing import claims as firing
from keyscope.app.analyses.syntax import claims as syntax
from keyscope.app.findings import run_file
from keyscope.app.findings.report import claims, findings, markdown
from keyscope.app.queries.estimate import Estimate
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.manifest import Manifest
from keyscope.contract.runfile import TABLES, open_run, read_manifest


@pytest.fixture(scope="module")
def manifest(runs_dir: Path) -> Manifest:
    with open_run(runs_dir / "alpha.duckdb") as connection:
        return read_manifest(connection)


@pytest.fixture
def made() -> Iterator[duckdb.DuckDBPyConnection]:
    """Empty tables of every kind of analysis, to be filled."""
    with duckdb.connect() as connection:
        for tables in KINDS.values():
            for table in tables:
                connection.execute(replace(table, columns=table.viewed).ddl())
        yield connection


def _agree(connection: duckdb.DuckDBPyConnection, measure: str, rates: list[float], margin: float = 0.01) -> None:
    for layer, rate in enumerate(rates):
        connection.execute(
            "INSERT INTO agreement (measure, split, part, layer, estimate, low, high, n, files) "
            "VALUES (?, 'all', 'all', ?, ?, ?, ?, 1000, 40)",
            [measure, layer, rate, max(0, rate - margin), min(1, rate + margin)],
        )


def _told(measured: Measured | None) -> Measured:
    assert measured is not None
    assert measured.text
    return measured


def test_claims_without_figures_are_not_computed(runs_dir: Path) -> None:
    with open_run(runs_dir / "alpha.duckdb") as connection:
        found = findings(connection.cursor(), read_manifest(connection))
    assert [each.claim for each in found] == claims()
    for each in found:
        assert (each.measured.verdict is Verdict.MISSING) == (not each.measured.text)
        assert each.measured.verdict is Verdict.MISSING or each.claim.kind is None


def test_negative_numbers_have_a_minus_and_words_their_hyphens(runs_dir: Path, manifest: Manifest) -> None:
    measured = Measured(
        "feed-forward at top-1: -0.5 points (-1.0 to +0.2), 3-4 of 5", Verdict.EXPECTED, ("one: -2", "two: 3")
    )
    claim = replace(claims()[0], measure=lambda _cursor, _manifest: measured)
    with open_run(runs_dir / "alpha.duckdb") as cursor:
        (found,) = tried([claim], cursor, manifest)
    assert found.measured.text == "feed-forward at top-1: −0.5 points (−1.0 to +0.2), 3-4 of 5"
    assert found.measured.whole == f"{found.measured.text}: one: −2; two: 3"


def test_no_verdict_rests_on_few_projects(made: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    _agree(made, "residual", [0.05, 0.2, 0.6, 1.0])
    assert _told(agreement.residual.measure(made, manifest)).verdict is Verdict.EXPECTED
    for column, enough, too_few in (("files", 20, 19), ("projects", 10, 9)):
        made.execute(f"UPDATE agreement SET {column} = {enough}")
        assert _told(agreement.residual.measure(made, manifest)).verdict is Verdict.EXPECTED
        made.execute(f"UPDATE agreement SET {column} = {too_few}")
        measured = _told(agreement.residual.measure(made, manifest))
        assert measured.verdict is Verdict.INCONCLUSIVE
        assert "few projects" in measured.text


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
    assert _told(agreement.residual.measure(made, manifest)).verdict is verdict


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
            "VALUES (?, 'all', 'all', ?, ?, ?, 1000, 40)",
            [f"split_{name}", share, share - 0.01, share + 0.01],
        )
    measured = _told(agreement.split.measure(made, manifest))
    assert measured.verdict is verdict
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
            "INSERT INTO agreement_contexts (size, measure, estimate, low, high, n, files) VALUES (?, 'depth', ?, ?, ?, 100, 40)",
            [size, depth, depth - 0.1, depth + 0.1],
        )
    assert _told(agreement.context.measure(made, manifest)).verdict is verdict


@pytest.mark.parametrize(
    ("share", "entropy", "verdict"),
    [(-0.1, 0.1, Verdict.EXPECTED), (0.1, -0.1, Verdict.NOT), (-0.1, -0.1, Verdict.INCONCLUSIVE)],
)
def test_trigger_tokens_have_to_be_more_concentrated_below(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, share: float, entropy: float, verdict: Verdict
) -> None:
    for measure, difference in (("token_share", share), ("entropy", entropy)):
        made.execute(
            "INSERT INTO syntax_trends (measure, keys, difference, low, high, control, control_low, control_high) "
            "VALUES (?, 100, ?, ?, ?, 0, -0.01, 0.01)",
            [measure, difference, difference - 0.02, difference + 0.02],
        )
    assert _told(syntax.concentration.measure(made, manifest)).verdict is verdict


SELECTIVE, NOT_SELECTIVE, FEW = "selective", "not selective", "too few projects"


@pytest.mark.parametrize(
    ("conclusions", "verdict"),
    [
        ((SELECTIVE, SELECTIVE, "inconclusive"), Verdict.EXPECTED),
        ((SELECTIVE, NOT_SELECTIVE, "inconclusive"), Verdict.INCONCLUSIVE),
        ((NOT_SELECTIVE, "inconclusive"), Verdict.NOT),
        ((FEW, FEW), Verdict.INCONCLUSIVE),
        ((SELECTIVE, FEW, FEW), Verdict.INCONCLUSIVE),
    ],
)
def test_most_edits_have_to_be_selective_and_few_projects_decide_nothing(
    made: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    conclusions: tuple[Conclusion, ...],
    verdict: Verdict,
) -> None:
    for name in map(str, range(len(conclusions))):
        made.execute("INSERT INTO edits (edit, title, picker, keys) VALUES (?, 'Loops', 'fdr', 5)", [name])
    found = [EditVerdict(each, None, None, None, len(conclusions), None) for each in conclusions]
    monkeypatch.setattr(edits, "verdicts", lambda *_: found)
    measured = _told(edits.edit.measure(made, manifest))
    assert measured.verdict is verdict
    assert len(measured.parts) == len(conclusions)


GROUP_N = 1000


def _group(
    connection: duckdb.DuckDBPyConnection,
    measure: str,
    layers: str,
    rate: float,
    margin: float | None = 0.01,
    control: str = "",
    n: int = GROUP_N,
) -> None:
    ends = (None, None) if margin is None else (max(0, rate - margin), min(1, rate + margin))
    connection.execute(
        "INSERT INTO firing_groups (measure, control, part, layers, estimate, low, high, n) VALUES (?, ?, '', ?, ?, ?, ?, ?)",
        [measure, control, layers, rate, *ends, n],
    )


@pytest.mark.parametrize(
    ("dead", "peak", "margin", "verdict"),
    [
        ((0.1, 0.1), (0.3, 0.1), 0.01, Verdict.EXPECTED),
        ((0.1, 0.101), (0.3, 0.1), 0.01, Verdict.EXPECTED),
        ((0.1, 0.1), (0.3, 0.1), 0.2, Verdict.INCONCLUSIVE),
        ((0.1, 0.1), (0.18, 0.1), 0.01, Verdict.INCONCLUSIVE),
        ((0.1, 0.1), (0.1, 0.3), 0.01, Verdict.NOT),
        ((0.1, 0.2), (0.3, 0.1), 0.01, Verdict.NOT),
        ((0.1, 0.1), (0.3, 0.1), None, Verdict.INCONCLUSIVE),
    ],
)
def test_detectors_have_to_lie_low_and_dead_keys_not_high(
    made: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    dead: tuple[float, float],
    peak: tuple[float, float],
    margin: float | None,
    verdict: Verdict,
) -> None:
    for half, dead_share, peak_share in zip(("lower half", "upper half"), dead, peak, strict=True):
        _group(made, "dead", half, dead_share, margin)
        _group(made, "detectors_peak", half, peak_share, margin)
    measured = _told(firing.detectors.measure(made, manifest))
    assert measured.verdict is verdict
    assert f"over half their largest coefficient: {100 * peak[0]:.2f} % (" in measured.text


@pytest.mark.parametrize(
    ("share", "n", "verdict"),
    [
        (0.9, 40, Verdict.EXPECTED),
        (0.7, 40, Verdict.INCONCLUSIVE),
        (0.3, 40, Verdict.NOT),
        (0.9, 20, Verdict.INCONCLUSIVE),
    ],
)
def test_most_of_enough_detectors_have_to_suppress(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, share: float, n: int, verdict: Verdict
) -> None:
    _group(made, "suppressing_detectors", "all layers", share, 0.1, n=n)
    _group(made, "suppressing", "all layers", 0.5)
    measured = _told(firing.suppression.measure(made, manifest))
    assert measured.verdict is verdict
    assert (
        f"{100 * share:.1f} % ({100 * share - 10:.1f}–{100 * share + 10:.1f}) of {n} token detectors" in measured.text
    )


@pytest.mark.parametrize(
    ("share", "chance", "verdict"),
    [(0.1, 0.01, Verdict.EXPECTED), (0.05, 0.045, Verdict.INCONCLUSIVE), (0.05, 0.05, Verdict.NOT)],
)
def test_more_keys_have_to_know_the_position_than_shifted_ones(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, share: float, chance: float, verdict: Verdict
) -> None:
    _group(made, "positional", "all layers", share)
    _group(made, "positional", "all layers", chance, control="shifted")
    _group(made, "positional_strong", "all layers", share)
    assert _told(firing.positions.measure(made, manifest)).verdict is verdict


@pytest.mark.parametrize(
    ("f1", "low", "chance", "verdict"),
    [
        (0.9, 0.8, 0.6, Verdict.EXPECTED),
        (0.9, 0.5, 0.6, Verdict.INCONCLUSIVE),
        (0.8, 0.7, 0.6, Verdict.INCONCLUSIVE),
        (0.5, 0.4, 0.6, Verdict.NOT),
    ],
)
def test_a_key_has_to_tell_a_language_above_chance(
    made: duckdb.DuckDBPyConnection, manifest: Manifest, f1: float, low: float, chance: float, verdict: Verdict
) -> None:
    for index, of_key in ((4, f1 - 0.1), (7, f1)):
        made.execute(
            "INSERT INTO firing_languages (layer, \"index\", stack, language, f1) VALUES (1, ?, 'L', 'go', ?)",
            [index, of_key],
        )
    made.execute(
        "INSERT INTO firing_groups (measure, control, part, layers, estimate, low, high, n) "
        "VALUES ('best_f1', '', 'go', 'all layers', ?, ?, 1, 100)",
        [f1, low],
    )
    _group(made, "best_f1", "all layers", chance, None, "drawn")
    for third in ("lowest third", "highest third"):
        _group(made, "language", third, 0.05)
    measured = _told(firing.languages.measure(made, manifest))
    assert measured.verdict is verdict
    assert f"go (L1.K7) {f1:.2f} ({low:.2f} to 1.00)" in measured.text


@pytest.mark.parametrize(
    ("highest", "gaussian", "verdict"),
    [
        ((0.2, 0.2, 0.01), 0.01, Verdict.EXPECTED),
        ((0.2, 0.01, 0.01), 0.01, Verdict.INCONCLUSIVE),
        ((0.03, 0.03, 0.03), 0.01, Verdict.INCONCLUSIVE),
        ((0.2, 0.2, 0.2), 0.15, Verdict.NOT),
    ],
)
def test_classes_of_weights_have_to_be_commoner_at_the_top(
    made: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    highest: tuple[float, float, float],
    gaussian: float,
    verdict: Verdict,
) -> None:
    for kind, share in zip(("prediction", "suppression", "entropy"), highest, strict=True):
        name = f"folded_{kind}"
        _group(made, name, "lowest third", 0.02, None)
        _group(made, name, "highest third", share, None)
        _group(made, name, "highest third", gaussian, None, "gaussian")
    assert _told(firing.weight_classes.measure(made, manifest)).verdict is verdict


@pytest.mark.parametrize(("share", "n"), [(0.0, 640), (0.25, 40), (1.0, 7), (0.013, 1920)])
def test_a_share_of_all_has_the_interval_of_wilson(share: float, n: int) -> None:
    rate = among(share, n)
    low, high = proportion_confint(share * n, n, method="wilson")
    assert (rate.value, rate.low, rate.high) == pytest.approx((share, low, high))


def test_the_interval_of_a_quantile_over_keys_is_of_its_order_statistics(manifest: Manifest) -> None:
    stands_out = np.random.default_rng(0).gamma(8, 1, 400)
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.execute(table.ddl())
        connection.executemany(
            'INSERT INTO keys (layer, "index", maximum, mean, variance, dead) VALUES (0, ?, ?, 1, 4, false)',
            [[index, 1 + 2 * value] for index, value in enumerate(stands_out.tolist())],
        )
        connection.execute("INSERT INTO windows (window_id, file_id) VALUES (0, 0), (1, 1)")
        connection.execute(
            'INSERT INTO triggers (layer, "index", polarity, rank, window_id) '
            "SELECT 0, k, 'max', r, r FROM range(400) a(k), range(2) b(r)"
        )
        measured = run_file.harvest.measure(connection, manifest)
    margin = 1.96 * (0.25 / 400) ** 0.5
    median = number(Estimate(*np.quantile(stands_out, [0.5, 0.5 - margin, 0.5 + margin])))
    assert measured is not None
    assert f"is {median} standard deviations" in measured.text
    assert "100 % (100–100) of a key's triggers" in measured.text


def test_an_edit_measured_in_too_few_files_shows_nothing(made: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    made.execute("INSERT INTO edits (edit, title, picker, keys) VALUES ('e', 'Loops', 'fdr', 5)")
    for condition, role in ((1, "dose"), (2, "range")):
        made.execute(
            "INSERT INTO edit_conditions (edit, condition, role, main, keys) VALUES ('e', ?, ?, true, 5)",
            [condition, role],
        )
        made.execute(
            'INSERT INTO edit_effects (edit, condition, "group", name, places, files, projects, loss_change) '
            "VALUES ('e', ?, 'concept', '', 28, 2, 1, 0.6), ('e', ?, 'near', '', 90, 2, 1, 0.2)",
            [condition, condition],
        )
    made.execute(
        "INSERT INTO edit_contrasts (edit, condition, against, measure, difference) VALUES ('e', 1, 'general', 'loss', 0.5)"
    )
    for claim in (edits.doses, edits.ranges):
        measured = _told(claim.measure(made, manifest))
        assert measured.verdict is Verdict.INCONCLUSIVE
        (part,) = measured.parts
        assert "+0.600 nats (too few projects for an interval)" in part
        assert "nan" not in measured.whole


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert number(Estimate(-0.001, -0.004, 0.2)) == "0.00 (0.00 to 0.20)"
    assert change(Estimate(-0.0004, -0.02, 0.0004), 1, " points", 100) == "0.0 points (-2.0 to +0.0)"


def test_a_share_of_all_has_no_decimal_places_unless_its_interval_needs_them() -> None:
    assert percent(Estimate(1.0, 1.0, 1.0)) == percent(Estimate(0.9999, 0.9999, 1.0)) == "100 % (100–100)"
    assert percent(Estimate(0.997, 0.98, 1.0)) == "99.7 % (98.0–100.0)"
    assert percent(Estimate(1.0)) == "100 % (too few projects for an interval)"


def test_intervals_have_to_be_apart() -> None:
    assert not Estimate(0.5).above(Estimate(0.2, 0.1, 0.3))
    assert not Estimate(0.5, 0.4, 0.6).above(Estimate(0.2))
    assert Estimate(0.5, 0.4, 0.6).above(Estimate(0.2, 0.1, 0.3))
    assert not Estimate(0.5, 0.3, 0.6).above(Estimate(0.2, 0.1, 0.3))
    assert (judged(True, False), judged(False, True), judged(False, False)) == (
        Verdict.EXPECTED,
        Verdict.NOT,
        Verdict.INCONCLUSIVE,
    )


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0, 2.0], [5.0, 4.0, 4.0, 1.0, 0.5]])
def test_the_rank_correlation_is_spearmans(values: list[float]) -> None:
    assert rank_correlation(values) == pytest.approx(stats.spearmanr(range(len(values)), values).statistic)


def test_the_page_lists_every_claim_under_its_number_once_and_says_what_it_needs(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/findings")
    assert page.status_code == 200
    for claim in claims():
        assert claim.title in page.text.replace("&#39;", "'")
    numbers = re.findall(r'<td class="n">(\d+)</td>', page.text)
    assert numbers == sorted({str(claim.number) for claim in claims()}, key=int)
    assert 'needs <a\n      href="/runs/alpha/agreement">agreement</a>' in page.text


def test_the_page_says_every_figure_once(reader: TestClient) -> None:
    page = html.unescape(reader.get("/runs/alpha/findings").text)
    [measured] = [
        each["measured"] for each in reader.get("/api/v1/runs/alpha/findings").json()["findings"] if each["number"] == 1
    ]
    headline, _, rest = measured.partition("; ")
    assert page.count(headline) == page.count(rest) == 1
    assert measured not in page


@pytest.mark.parametrize(
    ("twin", "beyond"),
    [
        (None, None),
        (Measured("4.6 deviations; 3", Verdict.EXPECTED), "0 of the 0 claims"),
        (Measured("4.6 deviations; 3", Verdict.NOT), "{n} of the {n} claims"),
    ],
)
def test_a_column_tells_how_the_twin_fares_and_the_head_how_many_claims_it_fails(
    reader: TestClient, monkeypatch: pytest.MonkeyPatch, twin: Measured | None, beyond: str | None
) -> None:
    found = [Finding(claim, Measured("1; 2", Verdict.EXPECTED), twin) for claim in claims()]
    monkeypatch.setattr("keyscope.app.findings.page.findings", lambda *_: found)
    page = reader.get("/runs/alpha/findings").text
    assert ("its twin" in page) == bool(twin)
    assert page.count("<td>4.6 deviations <small") == (len(found) if twin else 0)
    assert (beyond or "").format(n=len(found)) in page
    assert ("claims that the twin fails" in page) == bool(twin)


def test_a_claim_that_only_the_twin_has_figures_for_is_not_counted() -> None:
    failed = Measured("1", Verdict.NOT)
    found = [
        Finding(claims()[0], Measured("2", Verdict.EXPECTED), failed),
        Finding(claims()[1], Measured("", Verdict.MISSING), failed),
    ]
    assert beyond_chance(found) == (1, 1)


def test_the_api_has_every_claim(reader: TestClient) -> None:
    answer = reader.get("/api/v1/runs/alpha/findings").json()
    assert answer["ok"]
    assert [each["title"] for each in answer["findings"]] == [claim.title for claim in claims()]


def test_the_table_has_a_row_for_every_claim(runs_dir: Path) -> None:
    with open_run(runs_dir / "alpha.duckdb") as connection:
        lines = markdown(findings(connection.cursor(), read_manifest(connection))).splitlines()
    assert len(lines) == 2 + len(claims())
    assert all(line.count(" | ") >= 3 for line in lines[2:])
