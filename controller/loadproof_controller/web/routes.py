"""The table of what is served: path, roles and handler of each, and for the REST interface what its document says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from loadproof_controller.security import Role

READERS: frozenset[Role] = frozenset({"viewer", "operator"})
OPERATORS: frozenset[Role] = frozenset({"operator"})
OPEN: frozenset[Role] | None = None
"""For everybody: what holds no secret and changes nothing."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Kind = Literal["page", "api"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What the OpenAPI document says of a route, in its own terms. `answers` are schema names or media types."""

    operation_id: str
    summary: str
    answers: dict[int, Any]
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None
    problems: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. A browser's cookie suffices for pages and for reading; other calls take a token."""

    method: str
    path: str
    handler: Handler = field(repr=False)
    roles: frozenset[Role] | None
    kind: Kind = "page"
    operation: Operation | None = None
