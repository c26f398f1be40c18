"""A small web server on loopback with answers for a test: no mocking, the whole HTTP client is exercised."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

RECEIVED_MAX = 10_000
"""Requests that are remembered."""
_ACCEPT_TURNS = 8
"""Turns of the loop in which a connection that is being accepted (three of them) becomes known to the server."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as the target got it. `path` is without the query; `match` holds the values of a route's `{names}`."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    match: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self.body)


Answer = Callable[[ReceivedRequest], Any]


@dataclass(slots=True)
class _Route:
    status: int
    json: Any
    text: str | None
    headers: dict[str, str]
    delay_s: float
    function: Answer | None


class FakeTarget:
    """A target for one test: `async with FakeTarget() as target` listens on a free port of 127.0.0.1.

    Requests without an answer get status 404. `requests` is what arrived, oldest first.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ReceivedRequest] = []
        self._routes: list[tuple[str, list[str], _Route]] = []
        self._runner: web.AppRunner | None = None

    def answer(
        self,
        method: str,
        path: str,
        function: Answer | None = None,
        *,
        status: int = 200,
        json: Any = None,
        text: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Answer `method` and `path` (with `{name}` for one segment) from now on; the newest answer wins.

        With `function` the JSON body is what it returns for the request; it may be async.
        """
        route = _Route(status, json, text, dict(headers or {}), delay_s, function)
        self._routes.insert(0, (method.upper(), path.split("/"), route))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(_ACCEPT_TURNS):  # a server that closes meanwhile forgets the connection it is accepting
            await asyncio.sleep(0)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        found, match = self._find(request.method, request.path)
        received = ReceivedRequest(
            request.method, request.path, dict(request.query), dict(request.headers), await request.read(), match
        )
        if len(self.requests) < RECEIVED_MAX:
            self.requests.append(received)
        if found is None:
            return web.Response(status=404, text=f"no answer for {request.method} {request.path}")
        if found.delay_s:
            await asyncio.sleep(found.delay_s)
        if found.text is not None:
            return web.Response(status=found.status, text=found.text, headers=found.headers)
        value = found.json
        if found.function is not None:
            value = found.function(received)
            if inspect.isawaitable(value):
                value = await _awaited(value)
        body = b"" if value is None else orjson.dumps(value)
        return web.Response(
            status=found.status, body=body, headers={"Content-Type": "application/json", **found.headers}
        )

    def _find(self, method: str, path: str) -> tuple[_Route | None, dict[str, str]]:
        parts = path.split("/")
        for wanted, pattern, route in self._routes:
            if wanted not in {method, "*"} or len(pattern) != len(parts):
                continue
            match: dict[str, str] = {}
            for name, part in zip(pattern, parts, strict=True):
                if name.startswith("{") and name.endswith("}"):
                    match[name[1:-1]] = part
                elif name != part:
                    break
            else:
                return route, match
        return None, {}


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
