"""How the worker answers errors: one JSON shape for every status."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ErrorAnswer
from keyscope.serving.answers import code_of, error_response, invalid_request
from keyscope.worker.live.errors import InternalError, InvalidRequest


def install(app: FastAPI) -> None:
    """Make the app answer all its errors from here."""
    for kind in (KeyscopeError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _handle)


def _handle(request: Request, error: Exception) -> JSONResponse:
    match error:
        case KeyscopeError():
            return error_response(error)
        case RequestValidationError():
            return error_response(InvalidRequest(invalid_request(error.errors())))
        case HTTPException():
            detail = f"{request.method} {request.url.path}: {error.detail}"
            answer = ErrorAnswer(error=code_of(error.status_code), detail=detail)
            return JSONResponse(answer.model_dump(), error.status_code, error.headers)
        case _:
            return error_response(InternalError("something went wrong in the worker; see its log"))
