"""The published counts by layer beside those of a tiny run made by the paper's procedure."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from keyscope.app.findings.paper import PUBLISHED, NotThePapers, at_depths, chi_square_tail, compare
from keyscope.cli.main import cli
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run, read_manifest
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run

BODY = "".join(f"    int value{n} = left + right * {n};\n" for n in range(40))
SETTINGS = RunSettings(
    preset="paper2023",
    window=60,
    stride=60,
    top_k=6,
    context=2,
    keep_duplicates=True,
    keep_boilerplate=True,
    ungrouped=True,
)


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Java files, some with the concepts in one line."""
    folder = tmp_path_factory.mktemp("paper")
    for number in range(6):
        line = ("  PUBLIC static void main(String[] a) {}\n", "  void oncreate() {}\n", "")[number % 3]
        (folder / "corpus").mkdir(exist_ok=True)
        text = f"class A{number} {{\n{BODY[: 300 + 40 * number]}\n{line}{BODY}}}\n"
        (folder / "corpus" / f"A{number}.java").write_text(text, "utf-8")
    return run(
        save_tiny(folder / "model", "codegen"), folder / "corpus", folder / "runs", SETTINGS, languages=("java",)
    )


def test_counts_equal_those_of_a_search_in_the_text_of_every_trigger(paper_run: Path) -> None:
    with open_run(paper_run) as connection:
        manifest = read_manifest(connection)
        found = compare(connection.cursor(), manifest)
        spelled = dict(connection.execute("SELECT token_id, bytes FROM tokens WHERE NOT special").fetchall())
        triggers = connection.execute(
            "SELECT layer, \"index\", token_ids FROM triggers JOIN windows USING (window_id) WHERE polarity = 'max'"
        ).fetchall()
    hits: list[set[tuple[int, int]]] = []
    for concept, compared in zip(PUBLISHED["concepts"], found.concepts, strict=True):
        keys = {
            (layer, index)
            for layer, index, ids in triggers
            if re.search(concept["regex"].encode(), b"".join(spelled.get(each, b"") for each in ids), re.IGNORECASE)
        }
        assert keys
        assert list(compared.found) == [sum(layer == each for each, _ in keys) for layer in range(3)]
        hits.append(keys)
    assert found.overlap == len(hits[0] & hits[1])
    assert found.expected == pytest.approx(len(hits[0]) * len(hits[1]) / 144)
    assert found.published_overlap == 109
    assert found.published_expected == pytest.approx(106.4, abs=0.1)


def test_the_published_counts_are_those_of_the_repository(paper_run: Path) -> None:
    with open_run(paper_run) as connection:
        found = compare(connection.cursor(), read_manifest(connection))
    assert [sum(each.published) for each in found.concepts] == [5492, 6348]
    assert [round(each.published_rise, 2) for each in found.concepts] == [0.74, 0.87]


def test_the_command_prints_both_and_refuses_other_runs(paper_run: Path, runs_dir: Path) -> None:
    told = CliRunner().invoke(cli, ["report", str(paper_run), "--paper"])
    assert told.exit_code == 0
    assert "PolyCoder-2.7B: 123 147 150" in told.output
    assert "expected 106.4" in told.output
    with open_run(runs_dir / "alpha.duckdb") as connection, pytest.raises(NotThePapers, match="--preset paper2023"):
        compare(connection.cursor(), read_manifest(connection))


def test_statistics_equal_scipy() -> None:
    for statistic, freedom in ((0.0, 3), (4.2, 1), (11.0, 7), (60.0, 31), (300.0, 8)):
        assert chi_square_tail(statistic, freedom) == pytest.approx(stats.chi2.sf(statistic, freedom), rel=1e-9)
    assert at_depths([1, 2, 3, 4], 2) == [1.5, 3.5]
    assert np.mean(at_depths(list(range(32)), 20)) == pytest.approx(15.5)
    assert at_depths([1, 2], 4) == [1, 1, 2, 2]
