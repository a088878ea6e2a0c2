from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import duckdb
import numpy as np
import pytest
from fastapi.testclient import TestClient

from keyscope.app.live import activations
from keyscope.app.main import create_app
from keyscope.app.queries import percentiles
from keyscope.app.runs import Run
from keyscope.app.settings import Settings
from keyscope.contract import bins
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import HISTOGRAMS
from tests.app.scripted_worker import ScriptedWorker
from tests.serving import serving

URL = "/api/v1/live/activations"
TOKEN = {"token": "x", "token_id": 3}
ALTERNATIVE = {**TOKEN, "logprob": -0.5}
ANSWER: dict[str, Any] = {
    "tokens": [TOKEN],
    "token_index": 0,
    "next": [ALTERNATIVE],
    "target": ALTERNATIVE,
    "distractor": None,
    "keys": [
        {"key": "L1.K2", "token_index": 0, "coefficient": 1000.0, "size": 9.0, "contribution": 2.0},
        {"key": "L0.K1", "token_index": 0, "coefficient": -1000.0, "size": 4.0, "contribution": 1.0},
    ],
}


@pytest.fixture
def worker(weights: dict[str, str]) -> ScriptedWorker:
    worker = ScriptedWorker(weights["alpha"])
    worker.answer = ANSWER
    return worker


@pytest.fixture
def client(settings: Settings, worker: ScriptedWorker) -> Iterator[TestClient]:
    with (
        serving(worker.app) as url,
        TestClient(create_app(settings.model_copy(update={"worker_urls": [url]}))) as client,
    ):
        yield client


def test_the_keys_behind_a_token_come_with_their_percentile_in_the_corpus(
    client: TestClient, worker: ScriptedWorker, weights: dict[str, str]
) -> None:
    response = client.post(URL, json={"run": "alpha", "text": "x", "limit": 2})
    answer = response.json()
    assert response.status_code == 200
    assert (answer["ok"], answer["tokens"], answer["target"]["token_id"]) == (True, [{**TOKEN, "token_hex": None}], 3)
    assert [(key["key"], key["percentile"]) for key in answer["keys"]] == [("L1.K2", 100.0), ("L0.K1", 0.0)]
    assert {"key", "token_index", "coefficient", "contribution", "percentile"} <= set(answer["keys"][0])
    (asked,) = worker.asked
    assert (asked["text"], asked["limit"], asked["weights_sha256"]) == ("x", 2, weights["alpha"])
    assert "run" not in asked


def test_an_unknown_run_is_refused_before_a_worker_is_asked(client: TestClient, worker: ScriptedWorker) -> None:
    assert client.post(URL, json={"run": "nothing", "text": "x"}).status_code == 404
    assert client.post(URL, json={"run": "alpha", "text": ""}).status_code == 422
    assert worker.asked == []


def test_more_keys_of_each_layer_than_an_answer_holds_are_refused_before_a_worker_is_asked(
    client: TestClient, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "MOST_KEYS", 11)
    response = client.post(URL, json={"run": "alpha", "text": "x", "limit": 1000, "by_layer": True})
    assert response.status_code == 422
    assert "1000 keys of each layer are 12 in all, and at most 11 are listed" in response.json()["detail"]
    assert worker.asked == []
    assert client.post(URL, json={"run": "alpha", "text": "x", "limit": 5, "by_layer": True}).status_code == 200


@pytest.fixture
def counted() -> Iterator[tuple[np.ndarray, duckdb.DuckDBPyConnection]]:
    """Draws of one key's coefficient, and a database with their histogram, divided between two languages."""
    draws = np.random.default_rng(0).normal(1, 2, 20000)
    with duckdb.connect() as connection:
        connection.execute(HISTOGRAMS.ddl())
        for language, part in (("go", draws[:5000]), ("java", draws[5000:])):
            counts = np.histogram(part, bins.edges())[0].tolist()
            connection.execute("INSERT INTO histograms VALUES (0, 1, ?, ?, ?)", [language, counts, counts])
        connection.execute("INSERT INTO histograms VALUES (0, 2, 'go', ?, [])", [[0] * bins.N_BINS])
        yield draws, connection


def test_percentiles_are_those_of_the_counted_coefficients(
    counted: tuple[np.ndarray, duckdb.DuckDBPyConnection],
) -> None:
    draws, cursor = counted
    for coefficient in (-3.0, -0.1, 0.0, 0.5, 2.2, 6.0):
        exact = 100 * float((draws < coefficient).mean())
        assert percentiles(cursor, {KeyId(0, 1): coefficient}) == {KeyId(0, 1): pytest.approx(exact, abs=1.5)}
    assert percentiles(cursor, {KeyId(0, 1): 1e6})[KeyId(0, 1)] == pytest.approx(100)
    assert percentiles(cursor, {KeyId(0, 1): -1e6})[KeyId(0, 1)] == pytest.approx(0, abs=1e-9)


def test_keys_without_counts_have_no_percentile(counted: tuple[np.ndarray, duckdb.DuckDBPyConnection]) -> None:
    _, cursor = counted
    assert percentiles(cursor, {KeyId(0, 2): 1.0, KeyId(5, 5): 1.0}) == {}
    assert percentiles(cursor, {}) == {}


def test_the_percentiles_of_many_keys_take_one_query(alpha: Run) -> None:
    keys = {KeyId(layer, index): 0.25 * index for layer in range(2) for index in range(6)}
    with alpha.reading() as cursor:
        watched = Mock(wraps=cursor)
        together = percentiles(watched, keys)
        assert watched.execute.call_count == 1
        assert together.keys() == keys.keys()
        assert together == {key: percentiles(cursor, {key: keys[key]})[key] for key in keys}
