"""The worker's OpenAPI document, with the parts FastAPI cannot infer: stream events and the token."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from keyscope.contract.wire import DoneEvent, TokenEvent

_REFERENCE = "#/components/schemas/{model}"
_NOT_JSON = {
    "description": "The body is not JSON in UTF-8",
    "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ErrorAnswer")}}},
}
_EVENTS: tuple[type[BaseModel], ...] = (TokenEvent, DoneEvent)


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document as JSON values."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = schema["components"]
    for event in _EVENTS:
        spelled = event.model_json_schema(ref_template=_REFERENCE, mode="serialization")
        components["schemas"] |= spelled.pop("$defs", {}) | {event.__name__: spelled}
    schema["paths"]["/generate"]["post"]["responses"]["200"]["content"]["text/event-stream"] = {"schema": _stream()}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            operation["security"] = [] if path == "/healthz" else [{"token": []}]
            if "requestBody" in operation:
                operation["responses"].setdefault("400", _NOT_JSON)
    return schema


def _stream() -> dict[str, Any]:
    names = [*(event.__name__ for event in _EVENTS), "ErrorAnswer"]
    return {
        "description": "The data of `token`, `done` and `error` events",
        "oneOf": [{"$ref": _REFERENCE.format(model=name)} for name in names],
    }
