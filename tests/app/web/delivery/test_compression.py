import gzip

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import Response, StreamingResponse

from keyscope.app.web.delivery.compression import LEAST_BYTES, compression


def encoding(client: TestClient, address: str, accepted: str = "gzip") -> str | None:
    return client.get(address, headers={"Accept-Encoding": accepted}).headers.get("Content-Encoding")


@pytest.mark.parametrize(
    "address",
    [
        "/runs/alpha",
        "/nothing",
        "/api/v1/runs/alpha",
        "/api/v1/runs/alpha/export/layers/0/keys",
        "/openapi.json",
        "/static/css/keyscope.css",
    ],
)
def test_what_we_make_is_compressed_for_those_who_accept_it(client: TestClient, address: str):
    assert encoding(client, address) == "gzip"
    assert encoding(client, address, "identity") is None
    assert "Accept-Encoding" in client.get(address).headers["Vary"]


@pytest.mark.parametrize(
    "address", ["/healthz", "/api/v1/runs/alpha/export/layers?format=parquet", "/api/v1/runs/alpha/file"]
)
def test_small_answers_and_compressed_files_are_sent_as_they_are(client: TestClient, address: str):
    assert encoding(client, address) is None


def test_a_part_of_a_run_file_is_that_part(client: TestClient):
    part = client.get("/api/v1/runs/alpha/file", headers={"Range": "bytes=0-4095", "Accept-Encoding": "gzip"})
    assert (part.status_code, len(part.content)) == (206, 4096)
    assert "Content-Encoding" not in part.headers


def test_events_and_encoded_answers_pass_unchanged():
    app = FastAPI(middleware=[compression()])
    long = b"data: {}\n\n" * LEAST_BYTES

    @app.get("/events")
    def events() -> StreamingResponse:
        return StreamingResponse(iter([long, long]), media_type="text/event-stream")

    @app.get("/encoded")
    def encoded() -> Response:
        return Response(gzip.compress(long), headers={"Content-Encoding": "gzip"}, media_type="text/plain")

    client = TestClient(app)
    assert encoding(client, "/events") is None
    assert client.get("/encoded", headers={"Accept-Encoding": "gzip"}).content == long
