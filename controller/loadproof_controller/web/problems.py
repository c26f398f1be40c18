"""Errors of the REST interface as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import http
from typing import NoReturn

import orjson
from aiohttp import web

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that cannot be answered as asked. `detail` says what to do and is safe to show."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}

    @property
    def title(self) -> str:
        """Return the status in words."""
        return http.HTTPStatus(self.status).phrase


def refuse(status: int, detail: str, **headers: str) -> NoReturn:
    """Raise a problem."""
    raise Problem(status, detail, {name.replace("_", "-"): value for name, value in headers.items()})


def problem_response(problem: Problem) -> web.Response:
    """Return the answer for a program."""
    body = {"type": "about:blank", "title": problem.title, "status": problem.status, "detail": problem.detail}
    return web.Response(
        body=orjson.dumps(body), status=problem.status, content_type=MEDIA_TYPE, headers=problem.headers
    )
