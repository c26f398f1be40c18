"""`user.aiohttp`: a real `aiohttp.ClientSession`, recorded in the same series and kept to the same targets.

For what the engine does not do: WebSocket, proxies, streaming. Service time is up to the response's head, because the
session can't know when the suite has read the rest. A display name and the statuses to accept go the way aiohttp gives:

    await user.aiohttp.get(f"/files/{key}", trace_request_ctx={"name": "/files/{key}", "accept": [404]})
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

import aiohttp

from loadproof.http.engine import DEFAULT_HEADERS, HttpEngine
from loadproof.http.errors import (
    ConnectError,
    DnsError,
    HttpError,
    InvalidRequest,
    ProtocolError,
    RequestTimeout,
    ServerDisconnected,
    TlsError,
    TooManyRedirects,
)
from loadproof.http.headers import Headers
from loadproof.http.hosts import ascii_host
from loadproof.http.scope import RequestInfo, RequestScope
from loadproof.http.urls import Address, parse_url


@dataclass(slots=True)
class BridgedResponse:
    """What recording and error samples see of an aiohttp response. The body is the suite's and is not read here."""

    status: int
    endpoint: str
    url: str
    headers: Headers
    elapsed_ns: int
    request: RequestInfo
    reason: str = ""
    accepted: bool = False
    scope: Any = None  # set by the scope that counts it
    body: bytes = b""
    text: str = ""
    history: tuple[Any, ...] = field(default=())


def open_aiohttp_session(
    engine: HttpEngine,
    *,
    scope: RequestScope,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    timeout_ns: int | None = None,
) -> aiohttp.ClientSession:
    """A session of one user; the caller closes it. Policy, ceiling and TLS options are the engine's.

    Errors reach the suite as aiohttp raises them; only TargetRefused is ours.
    """
    recorder = _Recorder(engine, scope)
    total_s = (engine.timeout_ns if timeout_ns is None else timeout_ns) / 1e9
    defaults = {**DEFAULT_HEADERS, **(headers or {})}
    recorder.private = {name: value for name, value in defaults.items() if engine.is_private(name, value)}
    recorder.home = parse_url(base_url).address if base_url else None
    base = base_url if not base_url or base_url.endswith("/") else base_url + "/"  # aiohttp wants the slash
    return aiohttp.ClientSession(
        base or None,
        headers={name: value for name, value in defaults.items() if name not in recorder.private},
        connector=aiohttp.TCPConnector(limit=0, ssl=engine.tls_context()),
        cookie_jar=aiohttp.CookieJar(unsafe=True),  # systems under test are often plain IP addresses
        timeout=aiohttp.ClientTimeout(total=total_s),
        trace_configs=[recorder.trace_config()],
        middlewares=(recorder.guard,),
    )


class _Recorder:
    """Trace callbacks and the guard of one session."""

    def __init__(self, engine: HttpEngine, scope: RequestScope) -> None:
        self._engine = engine
        self._scope = scope
        self.private: dict[str, str] = {}
        self.home: Address | None = None

    def trace_config(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._started)
        trace.on_request_end.append(self._ended)
        trace.on_request_exception.append(self._raised)
        return trace

    async def guard(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Every hop passes here before it is sent: targets, ceiling, trace header."""
        url = request.url
        address = Address(url.scheme, ascii_host(url.raw_host or ""), url.port or 0)
        self._engine.policy.check(address.host, address.port)
        delay_ns = self._engine.policy.reserve(monotonic_ns())
        if delay_ns:
            self._scope.count("http.throttled")
            await asyncio.sleep(delay_ns / 1e9)
        trace = self._scope.trace_parent
        if trace:
            request.headers["traceparent"] = trace
        if self.private and (self.home is None or address == self.home):
            for name, value in self.private.items():
                request.headers.setdefault(name, value)
        return await handler(request)

    async def _started(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        self._scope.before_request()
        options = context.trace_request_ctx
        chosen = options if isinstance(options, Mapping) else {}
        context.endpoint = f"{params.method} {chosen.get('name') or params.url.path}"
        context.accept = frozenset(chosen.get("accept", ()))
        context.started_ns = monotonic_ns()

    async def _ended(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        response = params.response
        self._respond(context, response.status, response.reason or "", response.headers, response.request_info)

    def _respond(
        self, context: SimpleNamespace, status: int, reason: str, headers: Mapping[str, str], request: Any
    ) -> None:
        elapsed_ns = monotonic_ns() - context.started_ns
        sent = RequestInfo(request.method, str(request.url), Headers(request.headers.items()), b"")
        bridged = BridgedResponse(
            status, context.endpoint, sent.url, Headers(headers.items()), elapsed_ns, sent, reason=reason
        )
        bridged.accepted = status in context.accept
        self._scope.on_response(bridged, context.endpoint, elapsed_ns)

    async def _raised(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        raised = params.exception
        if not isinstance(raised, Exception):  # cancelled: nobody's failure
            return
        if isinstance(raised, aiohttp.ClientResponseError) and raised.status >= 400 and raised.headers is not None:
            self._respond(context, raised.status, raised.message, raised.headers, raised.request_info)
            return
        error = translate(raised)
        error.recorded = True
        error.__cause__ = raised  # what the suite sees: the scope counts it once
        sent = RequestInfo(params.method, str(params.url), Headers(params.headers.items()), b"")
        self._scope.on_error(error, context.endpoint, monotonic_ns() - context.started_ns, sent)


_TRANSLATIONS: tuple[tuple[type[BaseException], type[HttpError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, RequestTimeout, "connect"),
    (TimeoutError, RequestTimeout, ""),
    (aiohttp.ClientConnectorDNSError, DnsError, ""),
    (aiohttp.ClientConnectorCertificateError, TlsError, ""),
    (aiohttp.ClientSSLError, TlsError, ""),
    (aiohttp.ServerDisconnectedError, ServerDisconnected, ""),
    (aiohttp.ClientConnectorError, ConnectError, ""),
    (aiohttp.TooManyRedirects, TooManyRedirects, ""),
    (aiohttp.InvalidURL, InvalidRequest, ""),
    (aiohttp.ClientOSError, ConnectError, "body"),
    (aiohttp.ClientError, ProtocolError, ""),
    (OSError, ConnectError, "body"),
)


def translate(raised: BaseException) -> HttpError:
    """Our error for one of aiohttp's, so that both clients' failures have the same categories."""
    if isinstance(raised, HttpError):
        return raised
    for theirs, ours, stage in _TRANSLATIONS:
        if isinstance(raised, theirs):
            return ours(str(raised) or type(raised).__name__, stage=stage)
    return InvalidRequest(f"{type(raised).__name__}: {raised}")
