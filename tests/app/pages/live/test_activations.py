"""The page of keys that fire on a text, with a worker that reads the same three tokens from every text."""

import re
from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient

from keyscope.app.pages.live.text_lines import text_lines
from keyscope.app.queries import Token
from keyscope.contract.keys import KeyId
from keyscope.contract.wire import ErrorAnswer
from tests.fake_worker import FakeWorker

ADDRESS = {"run": "alpha", "text": "x"}


def test_keys_are_listed_by_layer_with_what_can_be_done(live: TestClient, worker: FakeWorker) -> None:
    page = live.get("/activations", params={**ADDRESS, "per_layer": 6, "mask": "L1.K0:0"})
    (asked,) = worker.read
    assert (asked.by_layer, asked.limit, asked.order, asked.span, asked.token_index) == (True, 6, "size", None, None)
    assert re.findall(r'scope="rowgroup" colspan="8">(layer \d)<', page.text) == ["layer 0", "layer 1"]
    keys = page.context["looked"].keys
    assert [key.masked for key in keys if key.activity.key == "L1.K0"] == [True]
    assert all(key.activity.percentile is not None for key in keys)


def test_a_large_saved_basket_is_not_gone_through_for_every_key(
    live: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done with keys is counted, for time depends on how busy the machine is."""
    masks = [{"key": f"L0.K{index}", "factor": 0} for index in range(1000)]
    saved = live.post("/api/v1/baskets", json={"masks": masks}).json()["id"]
    hashed = Mock(side_effect=KeyId.__hash__)
    monkeypatch.setattr(KeyId, "__hash__", lambda key: hashed(key))
    page = live.get("/activations", params={**ADDRESS, "per_layer": 6, "mask": saved})
    assert len(page.context["looked"].keys) == 6
    assert hashed.call_count < 15 * len(masks)


def test_a_token_a_line_or_a_node_is_chosen_by_a_link(live: TestClient, worker: FakeWorker) -> None:
    page = live.get("/activations", params={**ADDRESS, "language": "python"})
    looked = page.context["looked"]
    assert [node.title for node in looked.nodes] == ["module", "name"]
    live.get(looked.nodes[0].href)
    assert (worker.read[-1].span.first, worker.read[-1].span.last) == (0, 2)
    live.get(looked.lines[0].pieces[-1].href)
    number = worker.read[-1].token_index
    assert (worker.read[-1].span, number is not None) == (None, True)
    page = live.get("/activations", params={**ADDRESS, "language": "python", "first": 2, "last": 1})
    assert (worker.read[-1].span.first, worker.read[-1].span.last) == (1, 2)
    looked = page.context["looked"]
    assert looked.place == "tokens 1 to 2"
    assert [(node.title, node.current) for node in looked.nodes] == [("module", False), ("call", True)]
    current = [piece.current for line in looked.lines for piece in line.pieces]
    assert current.count(True) >= 2


def test_without_a_language_there_are_no_nodes(live: TestClient) -> None:
    assert live.get("/activations", params=ADDRESS).context["looked"].nodes == []


def test_target_and_distractor_are_chosen_from_the_list_or_typed_exactly(live: TestClient, worker: FakeWorker) -> None:
    vocabulary = live.app.state.registry.get("alpha").vocabulary
    typed = vocabulary[9]
    page = live.get("/activations", params={**ADDRESS, "target": typed.notation, "distractor": vocabulary[3].notation})
    assert (worker.read[-1].target, worker.read[-1].distractor) == (9, 3)
    looked = page.context["looked"]
    assert [(each.is_target, each.is_distractor) for each in looked.next] == [(True, False), (False, True)]
    live.get(looked.next[1].target_href)
    assert worker.read[-1].target == 3
    live.get(looked.next[0].distractor_href)
    assert worker.read[-1].distractor == 2


def test_a_token_that_the_tokenizer_has_not_is_named_and_nothing_is_asked(live: TestClient, worker: FakeWorker) -> None:
    page = live.get("/activations", params={**ADDRESS, "target": "RETURN "})
    assert "the tokenizer has no token" in page.text
    assert page.context["looked"] is None
    assert worker.read == []


def test_peoples_labels_stand_beside_the_keys(live: TestClient) -> None:
    label = {"kind": "semantic", "description": "makes <zeros>"}
    headers = {"X-Keyscope-Person": "Ada"}
    assert live.put("/api/v1/runs/alpha/keys/L1.K2/labels", json=label, headers=headers).status_code == 200
    keys = {key.activity.key: key for key in live.get("/activations", params=ADDRESS).context["looked"].keys}
    (found,) = keys["L1.K2"].activity.labels
    assert (found.person, found.kind, found.description) == ("Ada", "semantic", "makes <zeros>")
    assert keys["L1.K1"].activity.labels == []
    api = live.post("/api/v1/live/activations", json=ADDRESS).json()
    assert [key["labels"] for key in api["keys"] if key["key"] == "L1.K2"] == [
        [{"person": "Ada", "kind": "semantic", "description": "makes <zeros>"}]
    ]


def test_a_refusal_is_shown(live: TestClient, worker: FakeWorker) -> None:
    worker.refusal = (429, ErrorAnswer(error="queue_full", detail="9 requests are waiting"))
    assert "9 requests are waiting" in live.get("/activations", params=ADDRESS).text


def test_lines_are_cut_at_line_breaks_and_hold_every_token() -> None:
    tokens = [
        Token(0, b"<s>", special=True),
        Token(1, b"if"),
        Token(2, b" x:\n    "),
        Token(3, "é".encode()[:1]),
        Token(4, "é".encode()[1:]),
        Token(5, b"\n\n"),
        Token(6, b"z"),
    ]
    lines = text_lines(tokens, range(2, 3), lambda first, last: f"{first}-{last}")
    assert [(line.number, line.href, [piece.text for piece in line.pieces]) for line in lines] == [
        (1, "1-2", ["if", " x:"]),
        (2, "2-5", ["    ", "é", ""]),
        (3, "5-5", [""]),
        (4, "6-6", ["z"]),
    ]
    assert [[piece.current for piece in line.pieces] for line in lines[:2]] == [[False, True], [True, False, False]]
    assert [piece.ends_line for piece in lines[0].pieces] == [False, True]
