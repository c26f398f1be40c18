"""From options to bytes: targets checked, headers merged, bodies encoded; and the next request of a redirect."""

import base64
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

from loadproof.http.call import Call, QuickCall, RequestOptions, Route
from loadproof.http.clock import now_s
from loadproof.http.errors import InvalidRequest, ProtocolError
from loadproof.http.headers import header_line, header_lines
from loadproof.http.payload import Payload, build_payload
from loadproof.http.response import Response
from loadproof.http.urls import encode_target, parse_url, refuse_control, resolve_reference, with_query

if TYPE_CHECKING:
    from loadproof.http.client import HttpClient

_OPTIONS = frozenset(RequestOptions.__annotations__)
_METHODS = {name: f"{name} ".encode() for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_SPECIAL = frozenset({"headers", "auth", "cookies"})  # these need headers merged line by line
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})  # these say Content-Length: 0 when they have none
_OURS = {"content-length", "transfer-encoding", "connection"}
_BODY_OPTIONS = ("json", "data", "files")


def build_call(client: "HttpClient", method: str, url: str, name: str | None, options: RequestOptions) -> Call:
    """The call of one request, checked against the policy. Raises InvalidRequest or TargetRefused; nothing was sent."""
    if not options.keys() <= _OPTIONS:
        unknown = min(options.keys() - _OPTIONS)
        raise TypeError(f"unknown option {unknown!r}; there are: {', '.join(sorted(_OPTIONS))}")
    timeout: object = options.get("timeout")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise InvalidRequest(f"timeout={timeout!r} is not a number of seconds above 0")
    home = client.home
    known = client.targets.get(url)
    userinfo = None
    if known is not None and home is not None:
        target, path = known.encoded, known.path
        route = home.route
        userinfo = home.userinfo
        if client.engine.policy.targets is not None:
            client.check_target(route.address)
    else:
        route, target, path, userinfo = _locate(client, url)
    params = options.get("params")
    if params:
        target = with_query(target.decode("ascii"), params).encode("ascii")
    return make_call(client, method, route, target, f"{method} {name or path}", options, userinfo=userinfo)


def _locate(client: "HttpClient", url: str) -> tuple[Route, bytes, str, tuple[str, str] | None]:
    """Route, encoded target, path to show and user:password of a URL that is not known yet."""
    home = client.home
    if "://" in url.partition("?")[0]:
        location = parse_url(url)
        client.check_target(location.address)
        path = location.target.partition("?")[0]
        return client.route(location.address), location.target.encode("ascii"), path, location.userinfo
    if home is None:
        refuse_control(url)
        raise InvalidRequest(f"URL {url!r} is relative, and the suite has no base_url")
    client.check_target(home.route.address)
    known = home.remember(url, encode_target(home.prefix + (url if url[:1] in ("/", "?") else "/" + url)))
    return home.route, known.encoded, known.path, home.userinfo


def _method_start(method: str) -> bytes:
    if not (method.isascii() and method.isalpha() and method.isupper()):
        raise InvalidRequest(f"method {method!r} must be upper-case letters")
    return f"{method} ".encode("ascii")


def make_call(
    client: "HttpClient",
    method: str,
    route: Route,
    target: bytes,
    endpoint: str,
    options: RequestOptions,
    *,
    userinfo: tuple[str, str] | None = None,
    started_ns: int = 0,
    inner: bool = False,
) -> Call:
    """Encode one request for `route`. Bodies and cookies beside the suite's own headers take the short way."""
    start = _METHODS.get(method) or _method_start(method)
    payload = None
    if "json" in options or "data" in options or "files" in options:
        payload = build_payload(options.get("json"), options.get("data"), options.get("files"))
    body = payload.body if payload is not None else b""
    body_at = 0
    if route.plain and not userinfo and _SPECIAL.isdisjoint(options):
        extra = b""
        if client.cookies:
            cookie = _cookie(client, route, target, options)
            extra = header_line("Cookie", cookie) if cookie else b""
        extra += client.scope.head_end()[:-2]
        if payload is not None:
            kind = payload.content_type.encode("ascii")
            extra += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body))
        elif method in _BODY_METHODS:
            extra += b"Content-Length: 0\r\n"
        wire = b"".join((start, target, route.head_line, extra, route.rest, body))
    else:
        lines = {**route.lines, **_extra_lines(client, method, route, target, options, payload, userinfo)}
        host = lines.pop("host", None)
        first = b" HTTP/1.1\r\n" + host if host is not None else route.head_line
        head = b"".join((start, target, first, *lines.values(), b"\r\n"))
        if body and b"100-continue" in lines.get("expect", b"").lower():
            body_at = len(head)
        wire = head + body
    started_ns = started_ns or monotonic_ns()
    return Call(method, route, wire, endpoint, client.new_future(), started_ns, options, body_at, inner)


def _extra_lines(
    client: "HttpClient",
    method: str,
    route: Route,
    target: bytes,
    options: RequestOptions,
    payload: Payload | None,
    userinfo: tuple[str, str] | None,
) -> dict[str, bytes]:
    """Header lines beside the defaults; what the suite names itself wins over what we would add."""
    extra: dict[str, bytes] = {}
    if payload is not None:
        extra["content-type"] = header_line("Content-Type", payload.content_type)
    auth = options.get("auth") or userinfo
    if auth:
        extra["authorization"] = header_line("Authorization", _authorization(auth))
    cookie = _cookie(client, route, target, options)
    if cookie:
        extra["cookie"] = header_line("Cookie", cookie)
    trace = client.scope.head_end()[:-2]
    if trace:
        extra["traceparent"] = trace
    own = options.get("headers")
    if own:
        extra.update(header_lines(own.items()))
        if not _OURS.isdisjoint(extra):
            _check_framing(extra, payload)
    if payload is not None or method in _BODY_METHODS:
        extra["content-length"] = b"Content-Length: %d\r\n" % (len(payload.body) if payload is not None else 0)
    return extra


def _check_framing(extra: dict[str, bytes], payload: Payload | None) -> None:
    """Framing is ours: a suite may repeat what is true, never say something else."""
    if "transfer-encoding" in extra:
        raise InvalidRequest("Transfer-Encoding is the client's; stream with user.aiohttp")
    length = extra.pop("content-length", None)
    said = length.partition(b":")[2].strip() if length is not None else b""
    if length is not None and said != b"%d" % (len(payload.body) if payload is not None else 0):
        raise InvalidRequest(f"Content-Length {said.decode()!r} is not the length of the body")


def _authorization(auth: tuple[str, str] | str) -> str:
    if isinstance(auth, str):
        return f"Bearer {auth}"
    user, password = auth
    if ":" in user:
        raise InvalidRequest("a user name for Basic authentication has no colon")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _cookie(client: "HttpClient", route: Route, target: bytes, options: RequestOptions) -> str:
    own = options.get("cookies")
    kept = ""
    if client.cookies:
        path = target.partition(b"?")[0].decode("ascii")
        kept = client.cookies.header(route.address.host, path, secure=route.secure, now_s=now_s())
    if not own:
        return kept
    for name, value in own.items():
        if any(char in f"{name}{value}" for char in ";\r\n\x00") or "=" in name:
            raise InvalidRequest(f"cookie {name!r} has a character that would end it")
    named = [pair for pair in kept.split("; ") if pair and pair.partition("=")[0] not in own]
    return "; ".join([*named, *(f"{name}={value}" for name, value in own.items())])


def _encoded(location: str) -> str:
    """Return a Location with the bytes that are not UTF-8 percent-encoded: they are what the server wants back."""
    return "".join(f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else char for char in location)


def next_hop(client: "HttpClient", call: QuickCall, response: Response) -> Call:
    """The request that a redirect asks for (RFC 9110 15.4). What was meant for another origin only is left behind."""
    before = response.call
    try:
        location = parse_url(resolve_reference(before.url, _encoded(response.headers["location"])))
    except InvalidRequest as error:
        raise ProtocolError(f"redirect can't be followed: {error.message}", stage="redirect") from error
    client.check_target(location.address)
    route = client.route(location.address)
    options = cast("RequestOptions", dict(before.options or {}))
    options.pop("params", None)
    headers = dict(options.get("headers") or {})
    method = before.method
    if (response.status == 303 and method != "HEAD") or (response.status in (301, 302) and method == "POST"):
        method = "GET"
        for option in _BODY_OPTIONS:
            options.pop(option, None)  # type: ignore[misc]  # the names are keys of RequestOptions
        headers = {key: value for key, value in headers.items() if not key.lower().startswith(("content-", "expect"))}
    if location.address != before.route.address:
        options.pop("auth", None)
        options.pop("cookies", None)
        private = client.engine.is_private
        headers = {key: value for key, value in headers.items() if key.lower() != "host" and not private(key, value)}
    options["headers"] = headers
    return make_call(
        client,
        method,
        route,
        location.target.encode("ascii"),
        call.endpoint,
        options,
        userinfo=location.userinfo,
        started_ns=call.started_ns,
        inner=True,
    )
