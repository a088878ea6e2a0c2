"""Fuzz both servers: every answer must be one that their OpenAPI documents describe, and none an unexpected error.

`make fuzz` tries many more examples than `make test`.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.made.runs import build_run

EXAMPLES = int(os.environ.get("KEYSCOPE_FUZZ_EXAMPLES", "2"))
"""Examples of each endpoint, once with good and once with bad values."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN = {"run": "alpha", "key": "L1.K2", "layer": 1}
"""Most random names lead to a 404 only, so endpoints are asked about things that exist."""
LOCAL = {"Host": "localhost"}
"""A worker without a token answers under names of its own machine only."""
UNREADABLE = (b"\xff\xfe", b'{"', b"null", b'"text"', b"[]")


@pytest.fixture(params=["app", "worker"])
def app(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> Iterator[Any]:
    """Each of the two servers, whole, in this process."""
    if request.param == "app":
        (tmp_path / "runs").mkdir()
        build_run(tmp_path / "runs" / "alpha.duckdb")
        yield create_app(Settings(runs=tmp_path / "runs", database_url=sqlite_url))
    else:
        from keyscope.worker.live.server import create_worker_app
        from keyscope.worker.live.settings import WorkerSettings
        from tests.worker.models import save_tiny

        model = str(save_tiny(tmp_path / "tiny", "codegen"))
        yield create_worker_app(WorkerSettings(model=model, prompt_tokens=16))
    shutdown_lifespans()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_one_that_the_document_describes(app: Any, mode: GenerationMode):
    for operation in operations(app):
        known = {each.name: KNOWN[each.name] for each in operation.path_parameters if each.name in KNOWN}
        cases = operation.as_strategy(mode, path_parameters=known)

        @seed(0)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases)
        def answers_as_described(case: Case) -> None:
            case.call_and_validate(checks=CHECKS, headers=LOCAL)

        with suppress(Unsatisfiable):  # an endpoint without parameters has no bad values
            answers_as_described()


def test_a_body_that_cannot_be_read_is_refused_as_the_document_describes(app: Any):
    with_body = [each for each in operations(app) if each.body]
    assert with_body
    for operation in with_body:
        for content in UNREADABLE:
            known = {each.name: KNOWN.get(each.name, "1") for each in operation.path_parameters}
            case = operation.Case(path_parameters=known, media_type="application/json", body=content)
            case.call_and_validate(checks=CHECKS, headers={"Content-Type": "application/json", **LOCAL})


def operations(app: Any) -> list[Any]:
    return [
        found.ok() for found in schemathesis.openapi.from_asgi("/openapi.json", app, headers=LOCAL).get_all_operations()
    ]
