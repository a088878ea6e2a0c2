"""Counts and durations of requests for Prometheus, in one registry per app."""

import os
import time

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.app.accounts.identity import Visitor, require
from keyscope.app.roles import Role

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of the environment with the folder in which several server processes count together."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""Methods that are counted by name. A client may send any word, and each would be kept for good."""

router = APIRouter(tags=["operation"])


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "keyscope_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "keyscope_request_seconds",
            "Seconds until the last byte of an answer",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )

    def written(self) -> bytes:
        """The counts in the format of Prometheus."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class CountRequests:
    """Counts every request under the name of its route and a known method, so the number of series stays small."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it when its response ends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "name", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)


async def _for_scrapers(visitor: Visitor) -> None:
    # A scraper's token needs only the role of a viewer; in a browser, metrics are for admins.
    if visitor is not None and visitor.session_id is not None:
        require(visitor, Role.ADMIN)


@router.get(
    "/metrics",
    dependencies=[Depends(_for_scrapers)],
    responses={200: {"content": {"text/plain": {}}}},
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Counts and durations, in the format of Prometheus; of all processes together, if there are several."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.written(), media_type=CONTENT_TYPE_LATEST)
