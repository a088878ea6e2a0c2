"""Keys along a text and the neighbours of a key, passed on to the worker with the run's weights."""

from fastapi.testclient import TestClient

from tests.fake_worker import FakeWorker


def test_keys_along_a_text_are_read_by_the_worker_with_the_weights_of_the_run(
    live: TestClient, worker: FakeWorker
) -> None:
    answer = live.post("/api/v1/live/coefficients", json={"run": "alpha", "text": "for x", "keys": ["L1.K2"]})
    assert answer.status_code == 200
    assert answer.json()["keys"] == [{"key": "L1.K2", "coefficients": [0.0, -0.5, 1.5]}]
    (asked,) = worker.read
    assert (asked.text, asked.keys, asked.weights_sha256) == ("for x", ["L1.K2"], worker.weights_sha256)


def test_the_neighbours_of_a_key_are_found_by_the_worker(live: TestClient, worker: FakeWorker) -> None:
    answer = live.post("/api/v1/live/keys/neighbours", json={"run": "alpha", "key": "L1.K2", "limit": 4}).json()
    assert answer["similar"] == [{"key": "L0.K2", "amount": 0.75}]
    assert (answer["upstream"][0]["key"], answer["downstream"][0]["key"]) == ("L0.K3", "L1.K4")
    (asked,) = worker.read
    assert (asked.key, asked.limit, asked.weights_sha256) == ("L1.K2", 4, worker.weights_sha256)


def test_a_key_that_the_run_lacks_is_refused_before_the_worker_is_asked(live: TestClient, worker: FakeWorker) -> None:
    for path, body in (("coefficients", {"text": "x", "keys": ["L1.K99"]}), ("keys/neighbours", {"key": "L9.K0"})):
        answer = live.post(f"/api/v1/live/{path}", json={"run": "alpha", **body})
        assert answer.status_code == 404
        assert "alpha" in answer.json()["detail"]
    assert worker.read == []
