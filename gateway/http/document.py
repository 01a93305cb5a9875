"""The OpenAPI document: made from the operations as they are declared, so that it is true to them; `/openapi.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from gateway.http.problems import CONTENT_TYPE, HEADERS, KINDS
from gateway.http.shapes import Problem

VERSION = "1.0.0"
"""Of the document: its major is that of the paths; inside only additions."""
PATH = "/openapi.json"
KEY = "key"
ABOUT = (
    "Publish events, ask what would be decided about them, and what was. Answers are problems (RFC 9457) where something "
    "is wrong, with every mistake at once. On a laptop without any key everything is open; else every operation wants one."
)


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the declarations of problems, for `responses=` of an operation; what every operation has is among them."""
    found: dict[int, list[str]] = {}
    for code in ("malformed", "unauthorized", "scope-missing", "too-large", "store-unavailable", *codes):
        found.setdefault(KINDS[code].status, []).append(code)
    return {
        status: {
            "description": " or ".join(dict.fromkeys(names)),
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, names in found.items()
    }


def document(app: FastAPI, schemas: Mapping[str, Any] | None = None) -> None:
    """Serve the document of an application's `/v1`; `schemas` are those that operations refer to by themselves."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_made(app, schemas or {}))
        return made

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get(PATH, include_in_schema=False)
    async def served() -> Response:
        return Response(json.dumps(openapi()), 200, HEADERS, "application/json")


def _made(app: FastAPI, more: Mapping[str, Any]) -> dict[str, Any]:
    found = get_openapi(
        title="Tidings", version=VERSION, openapi_version="3.1.0", summary="Event-driven notifications",
        description=ABOUT, routes=app.routes,
    )  # fmt: skip
    # Pages and health are no part of it, wherever they are declared.
    found["paths"] = {path: one for path, one in sorted(found["paths"].items()) if path.startswith("/v1/")}
    parts = found.setdefault("components", {})
    parts["securitySchemes"] = {
        KEY: {"type": "http", "scheme": "bearer", "description": "a key made with 'tidings keys create'"}
    }
    schemas = parts.setdefault("schemas", {})
    schemas.update(more)
    if "Problem" not in schemas:
        whole = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(whole.pop("$defs"))
        schemas["Problem"] = whole
    for path, operations in found["paths"].items():
        for operation in operations.values():
            operation["security"] = [{KEY: []}]
            _true(path, operation)
    # What FastAPI declares by itself is never answered: mistakes are problems here.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return found


def _true(path: str, operation: dict[str, Any]) -> None:
    """Declare what every operation may answer, take out FastAPI's own 422, and say which headers there are."""
    answers: dict[str, dict[str, Any]] = operation["responses"]
    everywhere = problems(
        *(("not-found",) if "{" in path else ()), *(("invalid",) if "requestBody" in operation else ())
    )
    for status, answer in everywhere.items():
        answers.setdefault(str(status), {**answer})
    for status, answer in list(answers.items()):
        content = answer.get("content", {})
        if "HTTPValidationError" in json.dumps(content):
            answer["content"] = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            answer["description"] = "invalid"
        answer.setdefault("headers", {})["Request-Id"] = {
            "description": "names this request in our log", "schema": {"type": "string"},
        }  # fmt: skip
        if status in ("429", "503"):
            answer["headers"]["Retry-After"] = {"description": "seconds", "schema": {"type": "integer"}}
