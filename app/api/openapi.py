"""The OpenAPI description of the app, with the answers that the framework gives but does not document."""

from typing import Any

from fastapi import FastAPI

_UNREAD = {"400": "The body is not JSON in UTF-8", "413": "The body is too large"}


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description as JSON values."""
    schema = FastAPI.openapi(app)
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    for methods in schema["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                for status, description in _UNREAD.items():
                    operation["responses"].setdefault(status, {"description": description, "content": answer})
    return schema
