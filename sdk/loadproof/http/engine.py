"""What the users of one worker share: timeouts, names, TLS contexts, encoded headers, and chains in the background."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from loadproof.http.call import Route
from loadproof.http.cookies import preload_suffixes
from loadproof.http.errors import TlsError
from loadproof.http.limits import HttpLimits, StageTimeouts
from loadproof.http.policy import TargetPolicy
from loadproof.http.resolver import Resolver
from loadproof.http.tls import TlsOptions
from loadproof.http.urls import Address, parse_url

if TYPE_CHECKING:
    from loadproof.http.connection import Connection

_SWEEP_S = 0.2  # a timeout ends at most this much late
_TARGETS_MAX = 8192  # encoded URLs kept per base URL; emptied when full

DEFAULT_HEADERS = {
    "User-Agent": "loadproof/0.1",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}


class Target(NamedTuple):
    """A relative URL as sent and shown: target, path without query, endpoint and head of a GET (no empty line yet)."""

    encoded: bytes
    path: str
    endpoint: str
    get: bytes


class Home:
    """A base URL with its default headers, shared by all users of it: route, path prefix, encoded targets."""

    __slots__ = ("prefix", "route", "targets", "userinfo")

    def __init__(self, route: Route, prefix: str, userinfo: tuple[str, str] | None) -> None:
        self.route = route
        self.prefix = prefix
        self.userinfo = userinfo
        self.targets: dict[str, Target] = {}

    def remember(self, url: str, target: str) -> Target:
        """Keep what is needed of a relative URL."""
        if len(self.targets) >= _TARGETS_MAX:
            self.targets.clear()
        encoded = target.encode("ascii")
        path = url.partition("#")[0].partition("?")[0] or "/"
        start = b"".join((b"GET ", encoded, self.route.head_line, self.route.rest[:-2]))
        known = self.targets[url] = Target(encoded, path, "GET " + path, start)
        return known


_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


class HttpEngine:
    """One per worker. `async with` (or `start` and `close` from one task) runs its sweeper and its background chains.

    Closing aborts every connection and cancels what is in the background; calls in flight are cancelled.
    """

    def __init__(
        self,
        *,
        policy: TargetPolicy | None = None,
        timeout_ns: int = 30_000_000_000,
        tls: TlsOptions | None = None,
        limits: HttpLimits | None = None,
        stages: StageTimeouts | None = None,
        resolver: Resolver | None = None,
        holds_secret: Callable[[str], bool] | None = None,
    ) -> None:
        self.policy = policy or TargetPolicy()
        self.timeout_ns = timeout_ns
        self.tls = tls or TlsOptions()
        self.limits = limits or HttpLimits()
        self.stages = stages or StageTimeouts()
        self.resolver = resolver or Resolver()
        self._holds_secret = holds_secret
        self.connections: set[Connection] = set()
        self.get_endpoints: dict[str, str] = {}  # "GET " and a request's own name, by name
        self.clients_made = 0  # numbers users, so that addresses are spread over them
        self._routes: dict[tuple[Address, tuple[tuple[str, str], ...]], Route] = {}
        self._homes: dict[tuple[str, tuple[tuple[str, str], ...]], Home] = {}
        self._context: ssl.SSLContext | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._group: asyncio.TaskGroup | None = None
        self._chains: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Self:
        """Start the sweeper. From the task that will call `close`."""
        self.loop = asyncio.get_running_loop()
        preload_suffixes()
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._sweep = self.loop.call_later(_SWEEP_S, self._tick)
        return self

    async def close(self) -> None:
        """Abort all connections and chains; nothing of the engine runs afterwards."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for task in tuple(self._chains):
            task.cancel()
        for connection in tuple(self.connections):
            call = connection.call
            connection.call = None
            if call is not None:
                call.future.cancel()
            connection.close()
        group, self._group = self._group, None
        if group is not None:
            await group.__aexit__(None, None, None)

    @property
    def running(self) -> bool:
        """Whether it was started and not closed."""
        return self._group is not None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def spawn(self, chain: Coroutine[Any, Any, None]) -> None:
        """Run a chain (redirects, a retry) that a response or a lost connection has started. It contains its errors."""
        if self._group is None:
            chain.close()
            raise RuntimeError("HttpEngine is not running; use `async with HttpEngine(...)`")
        task = self._group.create_task(chain)
        self._chains.add(task)
        task.add_done_callback(self._chains.discard)

    def _tick(self) -> None:
        now_ns = monotonic_ns()
        first_byte_ns = self.stages.first_byte_ns
        for connection in tuple(self.connections):
            if connection.call is not None:
                with contextlib.suppress(Exception):  # one user's scope never stops the sweeper for all others
                    connection.expire(now_ns, first_byte_ns)
        if self.loop is not None and self._group is not None:
            self._sweep = self.loop.call_later(_SWEEP_S, self._tick)

    def home(self, base_url: str, headers: Mapping[str, str]) -> Home:
        """The shared home of a base URL with its default headers. Raises InvalidRequest for what can't be sent."""
        lines = tuple(headers.items())
        key = (base_url, lines)
        home = self._homes.get(key)
        if home is None:
            location = parse_url(base_url)
            prefix = location.target.partition("?")[0].rstrip("/")
            home = self._homes[key] = Home(self.route(location.address, lines), prefix, location.userinfo)
        return home

    def is_private(self, name: str, value: str) -> bool:
        """Whether a header stays with the origin it was meant for: credentials, and whatever holds a secret."""
        return name.lower() in _PRIVATE_HEADERS or (self._holds_secret is not None and self._holds_secret(value))

    def route(self, address: Address, headers: tuple[tuple[str, str], ...]) -> Route:
        """The shared route of an origin. Its target is not checked here."""
        key = (address, headers)
        route = self._routes.get(key)
        if route is None:
            if len(self._routes) > 4096:
                self._routes.clear()
            route = self._routes[key] = Route(address, headers, self.limits)
        return route

    def tls_context(self) -> ssl.SSLContext:
        """The shared client context, made on first use."""
        if self._context is None:
            try:
                self._context = self.tls.context()
            except OSError as error:
                raise TlsError(f"TLS files can't be used: {error}") from error
        return self._context
