"""`user.http`: the client of one virtual user, with its cookies and connections.

A request on an idle connection costs one plain function call and one future. What needs more (a new connection, the
rate ceiling, redirects, a retry) runs as a coroutine that resolves the same future.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator, Mapping
from time import monotonic_ns
from typing import Any, Unpack

from loadproof.http.build import build_call, next_hop
from loadproof.http.call import IDEMPOTENT, Call, QuickCall, RequestOptions, Route
from loadproof.http.clock import now_s
from loadproof.http.connect import open_connection
from loadproof.http.connection import Connection
from loadproof.http.cookies import CookieJar
from loadproof.http.engine import DEFAULT_HEADERS, HttpEngine, Target
from loadproof.http.errors import HttpError, ServerDisconnected, TooManyRedirects
from loadproof.http.headers import Headers
from loadproof.http.response import Response
from loadproof.http.scope import RequestInfo, RequestScope
from loadproof.http.urls import Address, encode_target

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_POOL_KEYS_MAX = 64  # origins one user keeps connections to
_new_call = object.__new__
_ENDPOINTS_MAX = 8192  # names of GET requests kept by the engine; emptied when full


class HttpClient:
    """Requests of one virtual user. Every method answers an awaitable of a Response and raises HttpError.

    A request on an idle connection is written at once; one that needs a connection starts when it is awaited.
    """

    __slots__ = (
        "_endpoints", "_foreign_headers", "_new_future", "_plain", "_policy", "_pool", "_pools",
        "base_url", "connections", "cookies", "engine", "home", "number", "scope", "targets", "timeout_ns",
    )  # fmt: skip

    def __init__(
        self,
        engine: HttpEngine,
        *,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        scope: RequestScope,
        timeout_ns: int | None = None,
    ) -> None:
        self.engine = engine
        self.scope = scope
        self.base_url = base_url
        self.timeout_ns = engine.timeout_ns if timeout_ns is None else timeout_ns
        self.cookies = CookieJar()
        self.connections: list[Connection] = []  # open ones, idle and busy
        self.number = engine.clients_made
        engine.clients_made += 1
        self._new_future = (engine.loop or asyncio.get_running_loop()).create_future
        defaults = {**DEFAULT_HEADERS, **(headers or {})}
        self._foreign_headers = tuple(
            (name, value) for name, value in defaults.items() if not base_url or not engine.is_private(name, value)
        )
        self._pools: dict[Address, list[Connection]] = {}
        self.home = engine.home(base_url, defaults) if base_url else None
        self._plain = False  # True once the home's target was allowed: the quick way is open
        self._endpoints = engine.get_endpoints
        self._policy = engine.policy
        self._pool: list[Connection] = []
        self.targets: dict[str, Target] = {}
        if self.home is not None:
            self.targets = self.home.targets
            self._pool = self._pools.setdefault(self.home.route.address, [])

    # ---- the public methods

    def get(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """GET. The first request to an origin opens its connection."""
        scope = self.scope
        if scope.pending is not None:
            scope.before_request()
        if options or not self._pool or not self._plain or self._policy.max_rate_per_s is not None:
            return self._request("GET", url, name, options)
        known = self.targets.get(url)
        if known is None:
            if not url.startswith("/"):
                return self._request("GET", url, name, options)
            known = self._learn(url, name)
        endpoint = known.endpoint if name is None else self._endpoints.get(name) or self._name_get(name)
        wire = known.get
        if self.cookies.stored:
            wire += self._cookie_line(known)
        wire += scope.head_end()
        connection = self._pool.pop()
        call = _new_call(QuickCall)  # its constructor is a Python function, and stores the same
        future: asyncio.Future[Response] = self._new_future()
        call.route = connection.route
        call.wire = wire
        call.endpoint = endpoint
        call.future = future
        connection.call = call
        connection.sent_ns = call.started_ns = monotonic_ns()
        connection.timeout_ns = self.timeout_ns
        connection.write(wire)
        return future

    def head(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """HEAD; redirects are not followed unless `allow_redirects=True`."""
        options.setdefault("allow_redirects", False)
        return self.request("HEAD", url, name=name, **options)

    def post(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """POST."""
        self.scope.before_request()
        return self._request("POST", url, name, options)

    def put(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """PUT."""
        self.scope.before_request()
        return self._request("PUT", url, name, options)

    def patch(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """PATCH."""
        self.scope.before_request()
        return self._request("PATCH", url, name, options)

    def delete(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """DELETE."""
        self.scope.before_request()
        return self._request("DELETE", url, name, options)

    def options(self, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]) -> Awaitable[Response]:
        """OPTIONS."""
        self.scope.before_request()
        return self._request("OPTIONS", url, name, options)

    def request(
        self, method: str, url: str, *, name: str | None = None, **options: Unpack[RequestOptions]
    ) -> Awaitable[Response]:
        """Any method. Raises at once what may not be sent: InvalidRequest and TargetRefused."""
        self.scope.before_request()
        return self._request(method, url, name, options)

    def reset(self) -> None:
        """A fresh user: no cookies, no connections."""
        self.cookies.clear()
        self.close()

    def close(self) -> None:
        """Drop the connections. Requests in flight are cancelled."""
        for connection in tuple(self.connections):
            call, connection.call = connection.call, None
            if call is not None:
                call.future.cancel()
            connection.close()

    # ---- sending

    def check_target(self, address: Address) -> None:
        """Raise TargetRefused unless the environment allows the origin."""
        self._policy.check(address.host, address.port)

    def route(self, address: Address) -> Route:
        """The shared route to an origin; the suite's own Authorization and Cookie headers go to its base URL only."""
        if self.home is not None and address == self.home.route.address:
            return self.home.route
        return self.engine.route(address, self._foreign_headers)

    def new_future(self) -> "asyncio.Future[Response]":
        """A future of the client's loop."""
        return self._new_future()

    def _name_get(self, name: str) -> str:
        """The endpoint of a named GET, the same text each time: its hash is worked out once."""
        if len(self._endpoints) >= _ENDPOINTS_MAX:
            self._endpoints.clear()
        endpoint = self._endpoints[name] = "GET " + name
        return endpoint

    def _learn(self, url: str, name: str | None) -> Target:
        home = self.home
        assert home is not None
        try:
            return home.remember(url, encode_target(home.prefix + url))
        except HttpError as error:
            self._refuse(error, "GET", url, name)
            raise

    def _cookie_line(self, known: Target) -> bytes:
        assert self.home is not None
        route = self.home.route
        path = known.encoded.partition(b"?")[0].decode("ascii")
        cookie = self.cookies.header(route.address.host, path, secure=route.secure, now_s=now_s())
        return b"Cookie: " + cookie.encode("utf-8", "surrogateescape") + b"\r\n" if cookie else b""

    def _request(self, method: str, url: str, name: str | None, options: RequestOptions) -> Awaitable[Response]:
        try:
            call = build_call(self, method, url, name, options)
        except HttpError as error:
            self._refuse(error, method, url, name)
            raise
        if self._policy.max_rate_per_s is None:
            if self.home is not None and call.route is self.home.route:
                self._plain = call.route.plain
                pool = self._pool
            else:
                pool = self.pool(call.route.address)
            if pool:
                future = call.future
                pool.pop().begin(call)
                return future
        return _Started(self._start(call))

    def _refuse(self, error: HttpError, method: str, url: str, name: str | None) -> None:
        error.recorded = True
        shown = name or url.partition("#")[0].partition("?")[0]
        self.scope.on_error(error, f"{method} {shown}", 0, RequestInfo(method, url, Headers(), b""))

    def pool(self, address: Address) -> list[Connection]:
        """The idle connections to an origin."""
        pool = self._pools.get(address)
        if pool is None:
            if len(self._pools) >= _POOL_KEYS_MAX:
                self._drop_idle_pools()
            pool = self._pools[address] = []
        return pool

    def _drop_idle_pools(self) -> None:
        home = self.home.route.address if self.home is not None else None
        for address, pool in tuple(self._pools.items()):
            if address != home:
                for connection in tuple(pool):
                    connection.close()
                del self._pools[address]

    async def _start(self, call: Call) -> Response:
        """The way of a request that can't be written at once."""
        try:
            await self._send(call, fresh=False)
        except HttpError as error:
            self._fail(call, error)
        except BaseException:
            call.future.cancel()
            raise
        return await call.future

    async def _send(self, call: Call, *, fresh: bool) -> None:
        """Wait under the ceiling, then write on an idle or a new connection."""
        delay_ns = self._policy.reserve(monotonic_ns())
        if delay_ns:
            self.scope.count("http.throttled")
            await asyncio.sleep(delay_ns / 1e9)
            if not call.inner:
                call.started_ns = monotonic_ns()
        pool = self.pool(call.route.address)
        if pool and not fresh:
            pool.pop().begin(call)
            return
        timeout = call.options.get("timeout") if call.options else None
        timeout_ns = self.timeout_ns if timeout is None else round(timeout * 1e9)
        connection = await open_connection(self, call.route, pool, call.started_ns + timeout_ns)
        connection.begin(call)

    # ---- settling

    def settle(self, call: QuickCall, response: Response) -> None:
        """A connection has a complete response that is not of the quick kind."""
        if b"\r\nset-cookie:" in response.head.lower():
            address = call.route.address
            path = call.target.partition("?")[0]
            lines = response.headers.getall("set-cookie")
            self.cookies.store(lines, address.host, path, secure=call.route.secure, now_s=now_s())
        if call.future.done():
            return
        if call.inner:
            call.future.set_result(response)
        elif _follows(call, response):
            self.engine.spawn(self._continue(call, response))
        else:
            self._record(call, response)

    def unsettle(self, call: QuickCall, error: HttpError, *, may_retry: bool) -> None:
        """A connection failed under `call`; a reused one that gave no byte (`may_retry`) is tried again where safe."""
        if call.future.done():
            return
        if may_retry and isinstance(error, ServerDisconnected) and not call.retried and call.method in IDEMPOTENT:
            self.scope.count("http.retried")
            self.engine.spawn(self._continue(call, None))
        elif call.inner:
            call.future.set_exception(error)
        else:
            self._fail(call, error)

    async def _continue(self, call: QuickCall, response: Response | None) -> None:
        """Finish a call in the background: a retry on a new connection, or the hops after a redirect."""
        waiting = asyncio.current_task()
        assert waiting is not None
        call.future.add_done_callback(lambda future: waiting.cancel() if future.cancelled() else None)
        try:
            if response is None:
                again = self._inner(call, call)
                again.retried = True
                response = await self._exchange(again, fresh=True)
            if call.inner:
                call.future.set_result(response)
                return
            self._record(call, await self._chain(call, response))
        except HttpError as error:
            if call.future.done():
                return
            if call.inner:
                call.future.set_exception(error)
            else:
                self._fail(call, error)
        except asyncio.CancelledError:
            call.future.cancel()
        except Exception as error:  # a defect of ours or of the scope must reach the waiting user, not end the worker
            if not call.future.done():
                call.future.set_exception(error)

    def _inner(self, call: QuickCall, like: QuickCall) -> Call:
        future: asyncio.Future[Response] = self._new_future()
        return Call(
            like.method,
            like.route,
            like.wire,
            call.endpoint,
            future,
            call.started_ns,
            like.options,
            like.body_at,
            inner=True,
        )

    async def _exchange(self, call: Call, *, fresh: bool = False) -> Response:
        await self._send(call, fresh=fresh)
        try:
            return await call.future
        except asyncio.CancelledError:
            call.future.cancel()
            raise

    async def _chain(self, call: QuickCall, response: Response) -> Response:
        history: list[Response] = []
        before_ns = 0
        while _follows(call, response):
            history.append(response)
            whole_ns = response.elapsed_ns  # from the chain's start
            response.elapsed_ns -= before_ns
            before_ns = whole_ns
            if len(history) > self.engine.limits.redirects_max:
                limit = self.engine.limits.redirects_max
                raise TooManyRedirects(f"more than {limit} redirects, last to {response.url}")
            response = await self._exchange(next_hop(self, call, response))
        response.history = tuple(history)
        return response

    def _record(self, call: QuickCall, response: Response) -> None:
        if call.future.done():
            return
        response.elapsed_ns = monotonic_ns() - call.started_ns if response.history else response.elapsed_ns
        try:
            self.scope.on_response(response, call.endpoint, response.elapsed_ns)
        except Exception as error:  # what the scope raises belongs to its user's task
            call.future.set_exception(error)
            return
        future = call.future
        del call.future  # as in `Connection`: no circle of references
        future.set_result(response)

    def _fail(self, call: QuickCall, error: HttpError) -> None:
        error.recorded = True
        try:
            self.scope.on_error(error, call.endpoint, monotonic_ns() - call.started_ns, call.info())
        except Exception as raised:  # as in `_record`
            call.future.set_exception(raised)
            return
        call.future.set_exception(error)


class _Started:
    """A request that waits for a connection: awaited as the future of one that does not, and no coroutine either.

    So what takes a coroutine only, as `create_task` does, refuses both, and not just under load.
    """

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, Response]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, Response]:
        return self._work.__await__()


def _follows(call: QuickCall, response: Response) -> bool:
    if response.status not in _REDIRECTS or not response.headers.get("location"):
        return False
    return call.options is None or call.options.get("allow_redirects", True)
