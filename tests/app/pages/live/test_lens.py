"""The logit lens as page and JSON, with a worker that says the same after every token."""

import html
import re

import pytest
from fastapi.testclient import TestClient

from keyscope.contract.wire import ErrorAnswer
from tests.fake_worker import TEXT, FakeWorker


def test_the_api_hands_on_what_the_worker_reads(live: TestClient, worker: FakeWorker) -> None:
    answer = live.post("/api/v1/live/lens", json={"run": "alpha", "text": "def", "top": 1, "last": 7})
    assert answer.status_code == 200
    assert [len(cells) for cells in answer.json()["cells"]] == [3, 3]
    (asked,) = worker.read
    assert (asked.text, asked.top, asked.last) == ("def", 1, 7)
    assert asked.weights_sha256 == worker.weights_sha256
    assert live.post("/api/v1/live/lens", json={"run": "alpha", "text": ""}).status_code == 422
    assert live.post("/api/v1/live/lens", json={"run": "gated", "text": "x"}).json()["error"] == "worker_other_weights"


def test_without_a_prompt_nothing_is_asked(live: TestClient, worker: FakeWorker) -> None:
    page = live.get("/lens?run=alpha")
    assert page.context["grid"] is None
    assert worker.read == []


def test_every_layer_and_token_has_a_cell(live: TestClient) -> None:
    page = live.get("/lens", params={"run": "alpha", "prompt": "x\r\n"})
    grid = page.context["grid"]
    assert [row.layer for row in grid.rows] == [0, 1]
    assert [len(row.cells) for row in grid.rows] == [len(TEXT)] * 2
    early, last = grid.rows[0].cells[0], grid.rows[1].cells[0]
    assert "own" in last.css.split()
    assert "own" not in early.css.split()
    assert re.search(r"\bs\d+\b", last.css)
    assert "rank 2" in early.title
    assert len(early.title.splitlines()) == 1 + 2 + 1
    assert early.label.endswith(early.title.splitlines()[0])


def test_a_cell_leads_to_the_keys_behind_it(live: TestClient, worker: FakeWorker) -> None:
    page = live.get("/lens", params={"run": "alpha", "prompt": "x", "mask": "L1.K0:0.5"})
    assert page.context["writers"] is None
    href = page.context["grid"].rows[0].cells[2].href
    page = live.get(href)
    asked = worker.read[-1]
    assert (asked.layer, asked.token_index, asked.target) == (0, 2, 3)
    writers = page.context["writers"]
    assert (writers.layer, len(writers.keys)) == (0, 6)
    assert page.context["grid"].rows[0].cells[2].current
    first, second = writers.keys[:2]
    assert (first.activity.key, first.masked, second.masked) == ("L1.K0", True, False)
    assert "mask=" not in first.mask_href
    assert "L1.K1" in second.mask_href
    assert "layer=0" in second.mask_href
    assert first.activity.percentile is not None


def test_regenerating_without_a_key_starts_from_the_text_up_to_the_cell(live: TestClient) -> None:
    page = live.get("/lens", params={"run": "alpha", "prompt": "x", "layer": 1, "at": 1})
    again = live.get(page.context["writers"].keys[0].live_href)
    vocabulary = live.app.state.registry.get("alpha").vocabulary
    expected = b"".join(vocabulary[token.token_id].bytes for token in TEXT[:2]).decode()
    assert again.context["state"].prompt == expected
    assert "L1.K0" in str(again.context["frame"].links.basket)


@pytest.mark.parametrize("cell", [{"layer": 9, "at": 0}, {"layer": 0, "at": 99}, {"layer": 0}])
def test_a_cell_that_is_not_there_chooses_none(live: TestClient, cell: dict[str, int]) -> None:
    page = live.get("/lens", params={"run": "alpha", "prompt": "x", **cell})
    assert page.status_code == 200
    assert page.context["writers"] is None


def test_a_refusal_is_shown_in_the_workers_words(live: TestClient, worker: FakeWorker) -> None:
    worker.refusal = (400, ErrorAnswer(error="prompt_too_long", detail="the prompt has 9 tokens & more"))
    page = live.get("/lens", params={"run": "alpha", "prompt": "x"})
    assert "the prompt has 9 tokens &amp; more" in page.text
    assert page.context["grid"] is None


def test_tokens_are_escaped_and_white_space_is_visible(live: TestClient) -> None:
    page = live.get("/lens", params={"run": "alpha", "prompt": "</textarea><b>"}).text
    assert "</textarea><b>" not in page
    assert "&lt;/textarea&gt;&lt;b&gt;" in page
    assert html.unescape(page).count("layer 0 after") >= len(TEXT)
