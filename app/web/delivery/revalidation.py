"""Answers that depend on a run's files alone: a client that still has one is told so before anything is read."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from keyscope.app.runs import Run
from keyscope.app.web.dependencies import run_named


class RunRoute(APIRoute):
    """A route whose answers are the same until the run in its path, or Keyscope, changes; the class of a router's routes.

    Clients keep the answers and ask each time whether they still hold. Not for what shows labels, people or jobs.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Answer 304 to a client that has the present answer."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            tag = _tag(await run_named(request.path_params["run"], request.app.state.registry), request)
            headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
            if tag in (each.strip() for each in request.headers.get("if-none-match", "").split(",")):
                return Response(status_code=304, headers=headers)
            response = await handle(request)
            if response.status_code == 200:
                response.headers.update(headers)
            return response

        return answer


def _tag(run: Run, request: Request) -> str:
    """A weak tag, because the answer may be compressed."""
    depends_on = repr((run.signature, request.app.version, str(request.url)))
    return f'W/"{hashlib.sha256(depends_on.encode()).hexdigest()[:32]}"'
