"""How the worker says that something went wrong: one JSON shape for every status, and for the event of a stream."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ErrorAnswer
from keyscope.worker.live.errors import Busy, InternalError, InvalidRequest, Unauthorised

_SHOWN = 3
_SHOWN_LENGTH = 60


def install(app: FastAPI) -> None:
    """Answer every error of the app from here."""
    for kind in (KeyscopeError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _handle)


def error_response(error: KeyscopeError) -> JSONResponse:
    """The answer to a request that failed."""
    headers = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorised):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_answer(error).model_dump(), error.status, headers)


def error_answer(error: KeyscopeError) -> ErrorAnswer:
    """An error as it stands in an answer or in an `error` event."""
    return ErrorAnswer(error=error.code, detail=error.detail)


def _handle(request: Request, error: Exception) -> JSONResponse:
    match error:
        case KeyscopeError():
            return error_response(error)
        case RequestValidationError():
            return error_response(InvalidRequest(_sentence(error)))
        case HTTPException():
            code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
            answer = ErrorAnswer(error=code, detail=f"{request.method} {request.url.path}: {error.detail}")
            return JSONResponse(answer.model_dump(), error.status_code, error.headers)
        case _:
            return error_response(InternalError("something went wrong in the worker; its log says what"))


def _sentence(error: RequestValidationError) -> str:
    """`max_new_tokens: Input should be greater than or equal to 1, got 0`, a clause for each of the first wrong values."""
    wrong = error.errors()
    more = [f"and {len(wrong) - _SHOWN} more wrong values"] if len(wrong) > _SHOWN else []
    return "; ".join([*map(_clause, wrong[:_SHOWN]), *more])


def _clause(wrong: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in wrong["loc"] if part != "body") or "the body"
    if wrong["type"] == "value_error":  # raised by our own types, whose sentences name the value
        return f"{place}: {wrong['ctx']['error']}"
    value = wrong.get("input")
    got = f", got {value!r:.{_SHOWN_LENGTH}}" if isinstance(value, str | int | float) else ""
    return f"{place}: {wrong['msg']}{got}"
