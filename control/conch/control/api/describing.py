"""The API's description, put right where FastAPI's own says something else than what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from .examples import ANSWERS
from .problems import MEDIA_TYPE, Problem

_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Describe errors as problem documents, and show examples whole.

    FastAPI describes invalid requests in a form of its own, and leaves null out of examples.
    """
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = original()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            for name in _FASTAPI_ERRORS:
                schemas.pop(name, None)
            for operation in _operations(schema):
                _put_right(operation)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in schema["paths"].values():
        yield from methods.values()


def _put_right(operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        content = response.get("content", {})
        found = content.get("application/json", {})
        if found.get("schema", {}).get("$ref", "").endswith(_FASTAPI_ERRORS[0]):
            reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
            response["description"] = "The request is not of the documented form."
            response["content"] = {MEDIA_TYPE: reference}
        elif "example" in found:
            found["example"] = ANSWERS[found["example"]]
