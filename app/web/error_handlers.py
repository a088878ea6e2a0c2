"""The one place where an error becomes an answer: JSON for programs, a page or a fragment for people."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.app.accounts.identity import NameNeeded, Sent
from keyscope.app.errors import Exists, NotFound
from keyscope.app.web.security import local_path
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ErrorAnswer
from keyscope.serving.answers import code_of, error_headers, invalid_request

log = logging.getLogger(__name__)
JSON_PATHS = ("/api/", "/openapi.json", "/healthz", "/metrics")
FOR_PROGRAMS = ("application/json", "text/event-stream")
"""Media types of programs, our scripts included, which cannot read an HTML page."""
HEADINGS = {
    400: "This request could not be read",
    401: "Please sign in first",
    403: "You may not do this",
    404: "There is nothing at this address",
    405: "This address cannot be used that way",
    409: "This cannot be done now",
    413: "This is too much at once",
    421: "The server does not go by this name",
    422: "Something in this request is not right",
    429: "The server has too much to do",
    502: "The live worker failed",
    503: "This does not work at the moment",
}
"""What happened, by status, as a person would say it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as shown to the client."""

    status: int
    code: str
    """Name for programs, in snake_case."""
    detail: str
    """One sentence that names the thing, the value and what to do."""
    exists: Exists = field(default_factory=Exists)
    """What exists instead."""
    headers: dict[str, str] = field(default_factory=dict)
    sent: Sent | None = None
    """Fields of the form that failed for want of a name; None if it cannot be sent again."""

    @property
    def title(self) -> str:
        """What happened, as the heading of a page."""
        if self.code == NameNeeded.code:
            return "What is your name?"
        return HEADINGS.get(self.status, "Something went wrong on the server" if self.status >= 500 else HEADINGS[400])


ErrorPage = Callable[[Request, Failure], Response]
"""Renders a failure as a page, or as a fragment for htmx."""


def describe(error: Exception) -> Failure:
    """The failure to show for an error; unexpected errors reveal no details."""
    match error:
        case NotFound():
            return Failure(error.status, error.code, error.detail, error.exists)
        case NameNeeded():
            return Failure(error.status, error.code, error.detail, sent=error.sent)
        case KeyscopeError():
            return Failure(error.status, error.code, error.detail, headers=error_headers(error))
        case RequestValidationError():
            return Failure(422, "invalid_request", invalid_request(error.errors()))
        case HTTPException(__cause__=KeyscopeError() as cause):
            # FastAPI wraps errors raised while reading a body.
            return describe(cause)
        case HTTPException():
            return Failure(
                error.status_code, code_of(error.status_code), str(error.detail), headers=dict(error.headers or {})
            )
        case duckdb.Error():
            return Failure(500, "run_file_error", f"the run file could not be read: {str(error).splitlines()[0]}")
        case SQLAlchemyError():
            return Failure(503, "database_error", "the labels database did not answer: try again, or see the log")
        case _:
            return Failure(500, "internal_error", "something went wrong on the server; its log says what")


def wants_json(request: Request) -> bool:
    """Whether the client is a program rather than a person's browser."""
    if local_path(request.scope).startswith(JSON_PATHS):
        return True
    accept = request.headers.get("accept", "")
    return "text/html" not in accept and any(kind in accept for kind in FOR_PROGRAMS)


def answer(request: Request, error: Exception, error_page: ErrorPage) -> Response:
    """The response to a request that failed."""
    failure = describe(error)
    if failure.status >= 500:
        known = isinstance(error, KeyscopeError)
        log.error("%s %s: %s", request.method, request.url.path, error, exc_info=None if known else error)
    response = _json(failure) if wants_json(request) else _page(request, failure, error_page)
    response.headers.update(failure.headers)
    return response


def install(app: FastAPI, error_page: ErrorPage) -> None:
    """Register the handlers of every error."""

    def handle(request: Request, error: Exception) -> Response:
        return answer(request, error, error_page)

    for kind in (KeyscopeError, RequestValidationError, HTTPException, duckdb.Error, SQLAlchemyError):
        app.add_exception_handler(kind, handle)


class CatchUnexpected:
    """Answers unexpected errors; placed below the middleware that adds security headers, so they get them too."""

    def __init__(self, app: ASGIApp, error_page: ErrorPage) -> None:
        self.app = app
        self.error_page = error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; on an error, answer it unless a response has started."""
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await answer(Request(scope), error, self.error_page)(scope, receive, send)


def _json(failure: Failure) -> Response:
    return JSONResponse(ErrorAnswer(error=failure.code, detail=failure.detail).model_dump(), failure.status)


def _page(request: Request, failure: Failure, error_page: ErrorPage) -> Response:
    try:
        return error_page(request, failure)
    except Exception:
        # The same fault may break every page; plain text still works.
        log.exception("the page of an error failed")
        return PlainTextResponse(failure.detail, failure.status)
