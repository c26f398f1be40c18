"""One request on its way: what was sent where, for whom, and the future its caller waits on."""

import asyncio
from typing import Any, NamedTuple, TypedDict

from loadproof.http.headers import Headers, header_lines
from loadproof.http.limits import HttpLimits
from loadproof.http.payload import Files, Form
from loadproof.http.response import Response
from loadproof.http.scope import RequestInfo
from loadproof.http.urls import Address, Params

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110 9.2.2


class RequestOptions(TypedDict, total=False):
    """Options of a request. `auth` is (user, password) for Basic or a text for Bearer; `timeout` is in seconds."""

    params: Params | None
    headers: "dict[str, str] | None"
    json: Any
    data: "bytes | str | Form | None"
    files: Files | None
    cookies: "dict[str, str] | None"
    auth: "tuple[str, str] | str | None"
    timeout: float | None
    allow_redirects: bool


_ADDED = frozenset({"cookie", "traceparent", "content-type", "content-length", "authorization", "host"})


class KnownHead(NamedTuple):
    """A head that asks for nothing, read once by llhttp.

    `rest_bytes` reach from its end to the body's; `encoded`: the body has an encoding. `begin` is the head with the
    empty line, which a response of `bytes_all` bytes begins with.
    """

    status: int
    rest_bytes: int
    encoded: bool
    text: bytes
    begin: bytes
    bytes_all: int


_UNKNOWN_HEAD = KnownHead(0, 0, encoded=False, text=b"", begin=b"", bytes_all=-1)


class Route:
    """An origin with the default headers of a suite, encoded once and shared by all users."""

    __slots__ = ("address", "head_line", "heads", "limits", "lines", "plain", "rest", "secure", "url", "usual")

    def __init__(self, address: Address, headers: tuple[tuple[str, str], ...], limits: HttpLimits) -> None:
        self.address = address
        self.url = address.url
        self.secure = address.scheme == "https"
        self.limits = limits
        lines = header_lines(headers)
        self.plain = _ADDED.isdisjoint(lines)  # nothing that a request adds itself is among the defaults
        host = lines.pop("host", b"Host: %b\r\n" % address.authority.encode("ascii"))
        self.head_line = b" HTTP/1.1\r\n" + host
        self.lines = lines
        self.rest = b"".join(lines.values()) + b"\r\n"
        self.heads: dict[bytes, KnownHead] = {}
        """What llhttp has read before: the next response with the same head needs no parser (see `Connection`)."""
        self.usual = _UNKNOWN_HEAD
        """The head that came last: comparing costs less than hashing."""


class QuickCall:
    """A plain GET: the fields that other calls have are the class's own, so making one stores five things."""

    __slots__ = ("endpoint", "future", "route", "started_ns", "wire")

    method: str = "GET"
    options: RequestOptions | None = None
    body_at: int = 0  # where the body begins when it waits for 100 Continue, else 0
    inner: bool = False  # a hop of a chain: the chain's first call is the one that is recorded
    plain: bool = True  # its response may be of any length, ends with its body, and is the user's
    retried: bool = False

    def __init__(
        self, route: Route, wire: bytes, endpoint: str, future: "asyncio.Future[Response]", started_ns: int
    ) -> None:
        self.route = route
        self.wire = wire
        self.endpoint = endpoint
        self.future = future
        self.started_ns = started_ns

    @property
    def target(self) -> str:
        """Path and query as sent."""
        return self.wire.split(b" ", 2)[1].decode("ascii")

    @property
    def url(self) -> str:
        """The absolute URL as sent."""
        return self.route.url + self.target

    def info(self) -> RequestInfo:
        """The request as sent, for samples of errors."""
        head, _, body = self.wire.partition(b"\r\n\r\n")
        return RequestInfo(self.method, self.url, Headers.parse(head), body)


class Call(QuickCall):
    """Any request, with its options; or one hop of a chain."""

    __slots__ = ("body_at", "inner", "method", "options", "plain", "retried")

    def __init__(
        self,
        method: str,
        route: Route,
        wire: bytes,
        endpoint: str,
        future: "asyncio.Future[Response]",
        started_ns: int,
        options: RequestOptions | None = None,
        body_at: int = 0,
        inner: bool = False,
    ) -> None:
        # Not through super(): one call less for every request that is no plain GET.
        self.route = route
        self.wire = wire
        self.endpoint = endpoint
        self.future = future
        self.started_ns = started_ns
        self.method = method
        self.options = options
        self.body_at = body_at
        self.inner = inner
        self.plain = not inner and not body_at and method != "HEAD"
        self.retried = False
