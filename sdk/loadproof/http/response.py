"""A finished response. Headers, body and JSON are decoded when first asked for: most suites read only the status."""

from typing import TYPE_CHECKING, Any, Self

import orjson

from loadproof.checks.response import check_response
from loadproof.checks.subset import matches
from loadproof.http.decoding import decode_body
from loadproof.http.errors import DecodeError
from loadproof.http.headers import Headers
from loadproof.http.scope import RequestInfo

if TYPE_CHECKING:
    from loadproof.http.call import QuickCall


class Response:
    """Status, headers and body of the last hop; `history` has the redirects before it.

    `accepted` is set by a check that takes the status as it is; `elapsed_ns` is the service time from the first write
    (or the start of connecting) to the last byte, redirects included.
    """

    _tail: bytes | Headers
    __slots__ = (
        "_body", "_headers", "_raw", "_tail", "accepted", "call", "elapsed_ns", "head", "history", "scope", "status",
    )  # fmt: skip

    def __init__(
        self, call: "QuickCall", status: int, head: bytes, raw: bytes, elapsed_ns: int, body: bytes | None = None
    ) -> None:
        """`body` is given where it is known to be `raw` as it is."""
        self.call = call
        self.status = status
        self.head = head
        self._raw = raw
        self.elapsed_ns = elapsed_ns
        self.accepted = False
        self.scope: Any = None  # set by the scope that counts it, for its checks
        self.history: tuple[Response, ...] = ()
        self._headers: Headers | None = None
        self._body = body

    @property
    def endpoint(self) -> str:
        """Display name, `GET /products/{sku}`: method and name or path, without the query."""
        return self.call.endpoint

    @property
    def url(self) -> str:
        """The URL of the last hop, as sent."""
        return self.call.url

    @property
    def request(self) -> RequestInfo:
        """The last hop's request as it was sent."""
        return self.call.info()

    @property
    def reason(self) -> str:
        """The text after the status code; often empty."""
        line = self.head.partition(b"\r\n")[0].split(b" ", 2)
        return line[2].decode("utf-8", "surrogateescape").strip() if len(line) > 2 else ""

    @property
    def headers(self) -> Headers:
        """Response headers; case-insensitive, repeats through `getall`."""
        if self._headers is None:
            self._headers = Headers.parse(self.head)
        return self._headers

    @property
    def trailers(self) -> Headers:
        """Fields that came behind a chunked body; empty where there were none, or more than 16 KiB of them."""
        tail = getattr(self, "_tail", b"")  # not set for a response that can have none
        if not isinstance(tail, Headers):
            tail = self._tail = Headers.parse_trailers(tail)
        return tail

    def keep_tail(self, tail: bytes) -> None:
        """Keep the end of a chunked message, as it came, for `trailers`."""
        self._tail = tail

    @property
    def body(self) -> bytes:
        """The body with its Content-Encoding undone. Raises DecodeError when broken or over the decoded limit."""
        body = self._body
        if body is None:
            raw = self._raw
            if raw and self.head.lower().find(b"\r\ncontent-encoding:") >= 0:
                encodings = ",".join(self.headers.getall("content-encoding"))
                raw = decode_body(raw, encodings, self.call.route.limits.decoded_bytes_max)
            body = self._body = raw
        return body

    @property
    def raw_body(self) -> bytes:
        """The body as it came, still encoded."""
        return self._raw

    @property
    def encoding(self) -> str:
        """The charset of the Content-Type, or utf-8."""
        for part in self.headers.get("content-type", "").split(";")[1:]:
            key, _, value = part.partition("=")
            if key.strip().lower() == "charset":
                return value.strip().strip("\"'") or "utf-8"
        return "utf-8"

    @property
    def text(self) -> str:
        """The body as text; bytes that don't fit the charset become U+FFFD."""
        try:
            return self.body.decode(self.encoding, "replace")
        except (LookupError, UnicodeError):
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. Raises DecodeError when it is not."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise DecodeError(f"body of {self.endpoint} is not JSON: {error}") from error

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def check(self, **expectations: Any) -> Self:
        """Assert on this response: `status=, json=, contains=, schema=, headers=, max_ms=, soft=`. Answers itself."""
        if expectations.get("status") == self.status:
            scope = self.scope
            if scope is not None and not scope.observed:  # the commonest checks hold and nobody looks on
                self.accepted = True
                if len(expectations) == 1 or (len(expectations) == 2 and self._holds(expectations.get("json"))):
                    return self
        return check_response(self, **expectations)

    def _holds(self, expected: Any) -> bool:
        """Whether the body is JSON that has all of `expected`; False for None. What is wrong is found out elsewhere."""
        try:
            return expected is not None and matches(expected, orjson.loads(self.body))
        except (orjson.JSONDecodeError, DecodeError):
            return False

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.call.method} {self.url} {len(self._raw)} B {self.elapsed_ns // 1000} us>"
