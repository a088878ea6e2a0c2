from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app import health
from keyscope.app.main import create_app
from keyscope.app.runs import Registry
from keyscope.app.settings import Settings


def test_health_says_the_version_and_the_number_of_runs(client: TestClient):
    assert client.get("/healthz").json() == {"ok": True, "version": client.app.version, "runs": 2}


def test_strangers_learn_only_that_the_server_answers(stranger: TestClient, admin: TestClient):
    assert stranger.get("/healthz").json() == {"ok": True}
    assert admin.get("/healthz").json() == {"ok": True, "version": admin.app.version, "runs": 0}


def test_requests_are_counted_under_the_name_of_their_route(client: TestClient):
    for key in ("L0.K1", "L0.K2"):
        client.get(f"/api/v1/runs/alpha/keys/{key}")
    client.get("/api/v1/runs/alpha/keys/L9.K0")
    client.get("/api/v1/nothing")
    client.get("/static/js/docs.js")
    answer = client.get("/metrics")
    counts = {line for line in answer.text.splitlines() if line.startswith("keyscope_requests_total")}
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert counts >= {
        'keyscope_requests_total{method="GET",route="show_key",status="200"} 2.0',
        'keyscope_requests_total{method="GET",route="show_key",status="404"} 1.0',
        'keyscope_requests_total{method="GET",route="other",status="404"} 1.0',
    }
    assert 'keyscope_request_seconds_count{route="show_key"} 3.0' in answer.text
    assert "L0.K1" not in answer.text


def test_each_app_counts_for_itself(settings: Settings, client: TestClient):
    client.get("/healthz")
    with TestClient(create_app(settings)) as other:
        assert 'route="healthz"' not in other.get("/metrics").text


def test_the_documentation_of_the_api_needs_no_inline_script(client: TestClient):
    page = client.get("/docs").text
    assert "swagger-ui" in page
    assert "<script>" not in page
    assert "style=" not in page


def test_every_endpoint_of_the_api_is_documented(client: TestClient):
    document = client.get("/openapi.json").json()
    operations = [
        operation for path, item in document["paths"].items() for operation in item.values() if path.startswith("/api/")
    ]
    assert len(operations) >= 18
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["description"].endswith(".")
        assert operation["tags"]


def test_every_failure_is_documented_in_the_one_shape_it_has(client: TestClient):
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    schema = response["content"]["application/json"]["schema"]
                    for each in schema.get("anyOf", [schema]):
                        name = each["$ref"].rpartition("/")[2]
                        assert set(document["components"]["schemas"][name]["required"]) >= {"error", "detail"}
                else:
                    assert response["content"]


def test_invented_methods_and_paths_are_counted_together(client: TestClient):
    for number in range(3):
        client.request(f"INVENTED{number}", f"/static/{number}")
        client.request(f"INVENTED{number}", f"/nothing/{number}")
    counted = client.get("/metrics").text
    assert 'method="other"' in counted
    assert "INVENTED" not in counted
    assert "nothing" not in counted


def test_run_files_are_counted_anew_after_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "one.duckdb").touch()
    count = health.RunCount(Registry(tmp_path))
    assert count() == 1
    (tmp_path / "two.duckdb").touch()
    assert count() == 1
    monkeypatch.setattr(health, "COUNTED_SECONDS", 0)
    count._until = 0
    assert count() == 2
