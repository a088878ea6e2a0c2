"""Failures as HTTP answers: code, sentence and headers."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.validation import sentence
from keyscope.contract.wire import ErrorAnswer


def error_headers(error: KeyscopeError) -> dict[str, str]:
    """`Retry-After` for errors with `retry_after`, `WWW-Authenticate` for those with `challenge`."""
    values = {"Retry-After": getattr(error, "retry_after", None), "WWW-Authenticate": getattr(error, "challenge", None)}
    return {name: str(value) for name, value in values.items() if value is not None}


def error_answer(error: KeyscopeError) -> ErrorAnswer:
    """The body of an error answer, and the data of an `error` event."""
    return ErrorAnswer(error=error.code, detail=error.detail)


def error_response(error: KeyscopeError) -> JSONResponse:
    """The JSON answer to a request that failed."""
    return JSONResponse(error_answer(error).model_dump(), error.status, error_headers(error))


def code_of(status: int) -> str:
    """The error code of an HTTP status that has no better one: `not_found`."""
    return HTTPStatus(status).phrase.lower().replace(" ", "_")


def invalid_request(errors: Sequence[Any]) -> str:
    """The sentence for FastAPI's `RequestValidationError.errors()`, whose locations begin with `body`, `query` or `path`."""
    return sentence(errors, start=1, whole="the request")
