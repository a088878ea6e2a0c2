from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.queries.percentiles import percentile
from keyscope.app.settings import Settings
from keyscope.contract import bins
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


def test_percentiles_are_those_of_the_counted_coefficients() -> None:
    draws = np.random.default_rng(0).normal(1, 2, 20000)
    counts = np.histogram(draws, bins.edges())[0].tolist()
    for coefficient in (-3.0, -0.1, 0.0, 0.5, 2.2, 6.0):
        exact = 100 * float((draws < coefficient).mean())
        assert percentile(counts, coefficient) == pytest.approx(exact, abs=1.5)
    assert percentile(counts, 1e6) == pytest.approx(100)
    assert percentile(counts, -1e6) == pytest.approx(0, abs=1e-9)
