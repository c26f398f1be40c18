"""The OpenAPI 3.1 document of the REST interface, made from the table that is served, and requests checked by it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from loadproof_controller.web.problems import MEDIA_TYPE, refuse
from loadproof_controller.web.routes import Operation, Route
from loadproof_controller.web.schemas import SCHEMAS

ABOUT = """Runs, reports, baselines, fleet and tokens of one controller.

Every call carries a token: `Authorization: Bearer lp1...`. Viewers read; operators do everything. Errors are
`application/problem+json` (RFC 9457). Times are UTC, ISO 8601."""
PROBLEM_TEXTS = {
    400: "The request cannot be read",
    401: "The token is missing, wrong, expired or revoked",
    403: "The token's role may not do this",
    404: "There is no such thing here",
    409: "That cannot be done now",
    411: "The request has no length",
    413: "The request is too large",
    415: "That content type is not taken",
    422: "What was sent cannot be used; the detail says why",
    503: "The controller is busy; try again later",
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Return the document of the routes that have an operation."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.operation is not None:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, route.operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Loadproof controller", "version": version, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "lp1"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        responses[str(status)] = _answer(answer)
    problems = {*operation.problems, *((401, 403) if route.roles is not None else ())}
    if operation.parameters:
        problems.add(400)
    for status in sorted(problems):
        schema = {"$ref": "#/components/schemas/Problem"}
        responses[str(status)] = {
            "description": PROBLEM_TEXTS[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
    made: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "responses": responses,
    }
    if operation.parameters:
        made["parameters"] = list(operation.parameters)
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": operation.body}
    if route.roles is None:
        made["security"] = []
    return made


def _answer(answer: Any) -> dict[str, Any]:
    """Return a response object: of a schema's name, a list of media types, or None for no content."""
    if answer is None:
        return {"description": "Done"}
    if isinstance(answer, str):
        schema = {"$ref": f"#/components/schemas/{answer}"}
        return {"description": answer, "content": {"application/json": {"schema": schema}}}
    return {"description": "The file", "content": {kind: {"schema": {}} for kind in answer}}


def query_of(request: web.Request, operation: Operation) -> dict[str, Any]:
    """Return the query's values as the document types them. Refuses what it does not name, and values outside it."""
    known = {p["name"]: p for p in operation.parameters if p["in"] == "query"}
    values: dict[str, Any] = {}
    for name in request.query:
        if name not in known:
            refuse(400, f"unknown parameter {name[:60]!r}; there are: {', '.join(known) or 'none'}")
        if len(request.query.getall(name)) > 1:
            refuse(400, f"{name}: it is given more than once")
        values[name] = _typed(name, request.query[name], known[name]["schema"])
    for name, parameter in known.items():
        if parameter.get("required") and name not in values:
            refuse(400, f"{name}: it is required")
        values.setdefault(name, parameter["schema"].get("default"))
    return values


def _typed(name: str, text: str, schema: dict[str, Any]) -> Any:
    if schema["type"] == "integer":
        if not re.fullmatch(r"[0-9]{1,9}", text) or not schema["minimum"] <= int(text) <= schema["maximum"]:
            refuse(400, f"{name}: it takes a whole number from {schema['minimum']} to {schema['maximum']}")
        return int(text)
    if "enum" in schema and text not in schema["enum"]:
        refuse(400, f"{name}: it takes one of {', '.join(schema['enum'])}")
    if len(text) > schema.get("maxLength", 1_000) or len(text) < schema.get("minLength", 0):
        refuse(400, f"{name}: it takes {schema.get('minLength', 0)} to {schema.get('maxLength', 1_000)} characters")
    return text
