from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.made.runs import FILES

V1 = "/api/v1"
TOP = {"key", "layer", "index", "stats", "triggers", "value_tokens", "labels"}
TRIGGER = {
    "language",
    "rank",
    "polarity",
    "coefficient",
    "source",
    "path",
    "line",
    "column",
    "trigger_index",
    "token_ids",
    "tokens",
    "coefficients",
}


def test_runs_are_listed_with_what_tells_them_apart(client: TestClient):
    answer = client.get(f"{V1}/runs").json()
    alpha, gated = answer["runs"]
    assert answer["ok"] is True
    assert (alpha["run_id"], alpha["model_id"], alpha["n_layers"], alpha["n_keys"]) == ("alpha", "toy", 2, 12)
    assert (alpha["languages"], alpha["k"]) == (["python", "java", "go"], 3)
    assert gated["keys_per_layer"] == [5, 5, 5]


def test_a_run_shows_its_manifest(client: TestClient):
    answer = client.get(f"{V1}/runs/alpha").json()
    assert answer["ok"] is True
    assert answer["manifest"]["model"]["architecture"] == "codegen"
    assert answer["manifest"]["verification"]["largest_error"] == 3e-6


def test_layers_are_summed_up(client: TestClient):
    layers = client.get(f"{V1}/runs/alpha/layers").json()["layers"]
    assert [layer["layer"] for layer in layers] == [0, 1]
    assert layers[1]["dead"] == 1
    assert set(layers[0]["languages"]) <= {"python", "java", "go"}


def test_the_keys_of_a_layer_are_sorted_and_paged(client: TestClient):
    url = f"{V1}/runs/alpha/layers/1/keys"
    whole = client.get(url, params={"sort": "kurtosis", "order": "asc"}).json()
    part = client.get(url, params={"sort": "kurtosis", "order": "asc", "limit": 2, "offset": 2}).json()
    kurtosis = [key["stats"]["kurtosis"] for key in whole["keys"]]
    assert whole["total"] == part["total"] == 6
    assert kurtosis == sorted(kurtosis)
    assert part["keys"] == whole["keys"][2:4]
    assert (part["limit"], part["offset"], part["sort"], part["order"]) == (2, 2, "kurtosis", "asc")
    assert part["keys"][0]["key"] == f"L1.K{part['keys'][0]['index']}"


def test_a_filter_by_token_is_exact(client: TestClient):
    url = f"{V1}/runs/alpha/layers/0/keys"
    found = client.get(url, params={"token": r"\n"}).json()
    assert 0 < found["total"] <= 6
    assert client.get(url, params={"token": r"\n "}).json()["total"] == 0


def test_a_key_has_the_documented_fields(client: TestClient):
    answer = client.get(f"{V1}/runs/alpha/keys/L1.K2").json()
    assert answer["ok"] is True
    assert set(answer) >= TOP
    assert (answer["key"], answer["layer"], answer["index"]) == ("L1.K2", 1, 2)
    assert set(answer["value_tokens"]) == {"promoted", "suppressed"}
    assert {"token", "token_id", "logit"} <= set(answer["value_tokens"]["promoted"][0])
    assert answer["labels"] == []
    assert answer["labels_problem"] is None
    for trigger in answer["triggers"]:
        assert set(trigger) >= TRIGGER
        assert trigger["polarity"] == "max"
        assert len(trigger["token_ids"]) == len(trigger["tokens"]) == len(trigger["coefficients"])
        assert trigger["coefficients"][trigger["trigger_index"]] == trigger["coefficient"]
        assert trigger["coefficients"][0] is None
        assert trigger["rank"] >= 1


def test_a_trigger_names_further_files_with_the_same_code(client: TestClient):
    triggers = client.get(f"{V1}/runs/alpha/keys/L1.K2").json()["triggers"]
    assert {trigger["files"] - len(trigger["places"]) for trigger in triggers} == {1}
    place = next(trigger for trigger in triggers if trigger["places"])["places"][0]
    assert set(place) == {"source", "path", "line", "column"}


def test_the_name_of_a_key_may_be_typed_in_lower_case(client: TestClient):
    assert client.get(f"{V1}/runs/alpha/keys/l1.k2").json()["key"] == "L1.K2"


def test_a_gated_model_has_triggers_of_both_polarities(client: TestClient):
    triggers = client.get(f"{V1}/runs/gated/keys/L0.K1").json()["triggers"]
    assert {trigger["polarity"] for trigger in triggers} == {"max", "min"}


def test_tokens_give_back_the_exact_bytes_of_the_file(client: TestClient):
    sources = {path: text.encode() for _, path, text in FILES}
    answers = [client.get(f"{V1}/runs/gated/keys/L{layer}.K{index}").json() for layer in range(3) for index in range(5)]
    broken = 0
    for trigger in (trigger for answer in answers for trigger in answer["triggers"]):
        pairs = zip(trigger["tokens"], trigger["token_hex"], strict=True)
        data = b"".join(bytes.fromhex(code) if code else text.encode() for text, code in pairs)
        broken += sum(code is not None for code in trigger["token_hex"])
        assert data in sources[trigger["path"]]
        assert all("\ufffd" in text for text, code in zip(trigger["tokens"], trigger["token_hex"], strict=True) if code)
    assert broken


@pytest.mark.parametrize(
    ("url", "status", "error", "says"),
    [
        ("/runs/nope", 404, "unknown_run", "alpha, gated"),
        ("/runs/nope/keys/L0.K0", 404, "unknown_run", "alpha, gated"),
        ("/runs/alpha/layers/2/keys", 404, "unknown_layer", "0 to 1"),
        ("/runs/alpha/layers/-1/keys", 404, "unknown_layer", "0 to 1"),
        ("/runs/alpha/layers/one/keys", 422, "invalid_request", "one"),
        ("/runs/alpha/keys/L0.K6", 404, "unknown_key", "L0.K0 to L0.K5"),
        ("/runs/alpha/keys/L7.K0", 404, "unknown_layer", "0 to 1"),
        ("/runs/alpha/keys/K0", 422, "invalid_key", "L5.K312"),
        ("/runs/alpha/layers/0/keys?limit=0", 422, "invalid_request", "limit"),
        ("/runs/alpha/layers/0/keys?limit=1001", 422, "invalid_request", "1000"),
        ("/runs/alpha/layers/0/keys?offset=-1", 422, "invalid_request", "offset"),
        ("/runs/alpha/layers/0/keys?order=up", 422, "invalid_request", "up"),
        ("/runs/alpha/keys/L0.K0/comments/99999999999999999999999999/versions", 422, "invalid_request", "comment"),
        ("/runs/alpha/layers/0/keys?sort=nothing", 422, "invalid_parameter", "firing_rate"),
        ("/runs/alpha/layers/0/keys?min_firing_rate=nan", 422, "invalid_request", "min_firing_rate"),
        ("/nothing", 404, "not_found", ""),
        ("/runs/alpha/nothing", 404, "not_found", ""),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(
    client: TestClient, url: str, status: int, error: str, says: str
):
    answer = client.get(V1 + url)
    body = answer.json()
    assert answer.status_code == status
    assert set(body) == {"ok", "error", "detail"}
    assert (body["ok"], body["error"]) == (False, error)
    assert says in body["detail"]


def test_a_run_file_is_downloaded_whole_or_in_parts(client: TestClient, runs_dir: Path):
    data = (runs_dir / "alpha.duckdb").read_bytes()
    whole = client.get(f"{V1}/runs/alpha/file")
    part = client.get(f"{V1}/runs/alpha/file", headers={"Range": "bytes=8-11"})
    assert whole.content == data
    assert 'filename="alpha.duckdb"' in whole.headers["Content-Disposition"]
    assert part.status_code == 206
    assert part.content == data[8:12] == b"DUCK"


def test_an_unreadable_file_is_listed_with_its_reason(client: TestClient, runs_dir: Path):
    path = runs_dir / "broken.duckdb"
    path.write_bytes(b"nothing")
    try:
        answer = client.get(f"{V1}/runs").json()
        refused = client.get(f"{V1}/runs/broken")
    finally:
        path.unlink()
    assert [each["run_id"] for each in answer["unreadable"]] == ["broken"]
    assert [run["run_id"] for run in answer["runs"]] == ["alpha", "gated"]
    assert refused.status_code == 409
    assert refused.json()["error"] == "unreadable_run"
