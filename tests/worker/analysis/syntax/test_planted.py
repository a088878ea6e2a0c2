"""Every planted key is recovered, and a copy with shuffled weights has nothing to find."""

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pytest

from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.runfile import open_run
from keyscope.contract.tables import KEY
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject
from tests.worker.analysis.syntax.conftest import BIGRAM, DETECTOR, EVERYWHERE, FILES, KEYWORD, OpenPlanted
from tests.worker.analysis.syntax.plants import KEYS, LAYERS

SETTINGS = {"draws": 20, "controls": 4}
SHALLOW = 0.2
LEVEL = 0.05
"""False discovery rate at which something counts as found."""


@pytest.fixture(scope="module")
def rows(open_planted: OpenPlanted) -> Iterator[duckdb.DuckDBPyConnection]:
    """The run of the planted model with its analysis."""
    subject = open_planted(None)
    analyse(subject, make_analysis("syntax", SETTINGS))
    with open_run(subject.path) as connection:
        yield connection


def key(rows: duckdb.DuckDBPyConnection, place: tuple[int, int]) -> dict[str, Any]:
    cursor = rows.execute('SELECT * FROM syntax_keys WHERE layer = ? AND "index" = ?', place)
    return dict(zip([column[0] for column in cursor.description], cursor.fetchall()[0], strict=True))


def commonest(rows: duckdb.DuckDBPyConnection, place: tuple[int, int], aspect: str) -> dict[str, Any]:
    query = 'SELECT * FROM syntax_profiles WHERE layer = ? AND "index" = ? AND aspect = ? AND rank = 1'
    cursor = rows.execute(query, [*place, aspect])
    return dict(zip([column[0] for column in cursor.description], cursor.fetchall()[0], strict=True))


def test_a_token_detector_is_shallow_and_gone_without_its_token(rows: duckdb.DuckDBPyConnection) -> None:
    found = key(rows, DETECTOR)
    assert found["token_share"] == 1
    assert found["token_entropy"] == 0
    assert found["tokens_to_cover"] == 1
    assert found["bigrams_to_cover"] > 3
    assert found["drop_last"] < -0.95
    assert found["drop_first"] == pytest.approx(0, abs=0.02)
    assert found["score"] < SHALLOW
    assert found["files"] == found["triggers"]


def test_a_bigram_key_has_one_bigram_and_needs_only_that(rows: duckdb.DuckDBPyConnection) -> None:
    found = key(rows, BIGRAM)
    assert found["bigram_share"] == 1
    assert found["bigrams_to_cover"] == 1
    assert found["trigrams_to_cover"] > 3
    assert found["drop_last"] < -0.95
    assert found["drop_first"] == pytest.approx(0, abs=0.02)
    assert -0.3 < found["drop_random"] <= 0  # now and then the random token is the one before
    assert found["score"] < SHALLOW


def test_a_key_that_fires_everywhere_is_far_from_shallow_and_has_no_role(rows: duckdb.DuckDBPyConnection) -> None:
    found = key(rows, EVERYWHERE)
    assert found["drop_last"] > -0.5
    assert found["triggers"] == 60
    assert commonest(rows, EVERYWHERE, "role")["distinct_q"] > LEVEL
    assert found["score"] > key(rows, DETECTOR)["score"] + 0.2


def test_a_key_of_many_keywords_is_found_by_its_role_beyond_its_tokens(rows: duckdb.DuckDBPyConnection) -> None:
    found = commonest(rows, KEYWORD, "role")
    assert found["value"] == "keyword"
    assert found["share"] >= 0.95
    assert found["base"] == pytest.approx(_base(rows, "keyword"))
    assert found["lift"] == pytest.approx(found["share"] / found["base"], rel=1e-5)
    assert found["q"] < 1e-6
    assert found["distinct_q"] < LEVEL
    assert found["sample_share"] > 2 * found["base"]


def test_a_single_token_is_not_a_role_however_common(rows: duckdb.DuckDBPyConnection) -> None:
    found = commonest(rows, DETECTOR, "role")
    assert found["value"] == "keyword"
    assert found["q"] < 1e-6
    assert found["distinct_q"] > LEVEL


def test_the_nodes_of_a_planted_token_are_named(rows: duckdb.DuckDBPyConnection) -> None:
    assert commonest(rows, DETECTOR, "node")["value"].startswith(("if_statement in", "conditional_expression in"))
    assert commonest(rows, BIGRAM, "node")["value"] == "not_operator in boolean_operator"
    assert commonest(rows, BIGRAM, "scope")["value"] == "module"


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_copy_has_nothing_beyond_its_tokens(open_planted: OpenPlanted, seed: int) -> None:
    subject = open_planted(seed)
    analyse(subject, make_analysis("syntax", SETTINGS))
    with open_run(subject.path) as connection:
        query = "SELECT aspect, min(distinct_q) FROM syntax_profiles WHERE rank = 1 GROUP BY ALL"
        least = dict(connection.execute(query).fetchall())
        found = connection.execute("SELECT sum(significant) FROM syntax_layer_values").fetchall()
        scores = [key(connection, place)["score"] for place in (DETECTOR, BIGRAM)]
    assert len(least) == 6
    assert min(least.values()) > LEVEL
    assert found == [(0,)]
    assert min(scores) > SHALLOW


def test_every_key_and_measure_has_a_row(rows: duckdb.DuckDBPyConnection) -> None:
    columns = ", ".join(f'"{column.name}"' for column in KEY)
    assert rows.execute(f"SELECT DISTINCT {columns} FROM syntax_keys").fetchall().__len__() == LAYERS * KEYS
    counted = rows.execute("SELECT measure, count(*), min(keys) FROM syntax_layers GROUP BY ALL").fetchall()
    assert len(counted) == 12
    assert all(n == LAYERS and 0 < keys <= KEYS for _, n, keys in counted)
    outside = "SELECT * FROM syntax_layers WHERE mean NOT BETWEEN low AND high AND low <> high"
    assert rows.execute(outside).fetchall() == []


def test_a_layer_mean_is_that_of_its_keys(rows: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT layer, avg(score), avg(token_share), quantile_cont(score, 0.25) FROM syntax_keys GROUP BY ALL ORDER BY 1"
    for layer, score, share, quartile in rows.execute(query).fetchall():
        got = rows.execute(
            "SELECT mean, lower_quartile FROM syntax_layers WHERE layer = ? AND measure IN ('score', 'token_share') "
            "ORDER BY measure",
            [layer],
        ).fetchall()
        assert got[0] == pytest.approx((score, quartile), rel=1e-5)
        assert got[1][0] == pytest.approx(share, rel=1e-5)


def test_base_rates_are_shares_of_all_tokens(rows: duckdb.DuckDBPyConnection, open_planted: OpenPlanted) -> None:
    tokens = len(open_planted(None).store.token_ids)
    query = "SELECT aspect, sum(tokens), sum(share) FROM syntax_base GROUP BY ALL"
    for _, total, share in rows.execute(query).fetchall():
        assert total == tokens
        assert share == pytest.approx(1)
    assert 0.1 < _base(rows, "keyword") < 0.4


def test_shares_by_layer_add_up_and_the_control_is_near_the_base(rows: duckdb.DuckDBPyConnection) -> None:
    query = (
        "SELECT layer, sum(share), sum(control), sum(keys) FROM syntax_layer_values WHERE aspect = 'role' GROUP BY ALL"
    )
    for _, share, control, keys in rows.execute(query).fetchall():
        assert (share, control) == pytest.approx((1, 1))
        assert KEYS - 3 <= keys <= KEYS  # some never fire


def test_an_interrupted_analysis_resumes_to_the_same_rows(
    open_planted: OpenPlanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = open_planted(None)
    settings = SETTINGS | {"mutated": 3}
    analysis = make_analysis("syntax", settings)
    analyse(subject, analysis, replace=True)
    before = _all_rows(subject)
    stopped = make_analysis("syntax", settings | {"seed": 0})
    run_step = type(stopped).run_step

    def stop(self: Any, subject: Subject, step: Any, *rest: Any) -> Any:
        if step.name == "layer-001":
            raise KeyboardInterrupt
        return run_step(self, subject, step, *rest)

    analysis_path(subject.path, "syntax").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(type(stopped), "run_step", stop)
        with pytest.raises(KeyboardInterrupt):
            analyse(subject, stopped)
    analyse(subject, make_analysis("syntax", settings))
    assert _all_rows(subject) == before


def _all_rows(subject: Subject) -> dict[str, list[tuple[Any, ...]]]:
    tables = ("syntax_keys", "syntax_profiles", "syntax_layers", "syntax_layer_values", "syntax_base", "syntax_trends")
    with open_run(subject.path) as connection:
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in tables}


def _base(rows: duckdb.DuckDBPyConnection, value: str) -> float:
    query = "SELECT share FROM syntax_base WHERE aspect = 'role' AND value = ?"
    return float(rows.execute(query, [value]).fetchall()[0][0])


def test_the_corpus_is_what_these_tests_assume(open_planted: OpenPlanted) -> None:
    store = open_planted(None).store
    assert store.n_files == FILES
    assert np.median(store.lengths) > 60
