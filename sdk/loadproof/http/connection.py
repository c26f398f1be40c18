"""One HTTP/1.1 connection of one virtual user: never pipelined, framed by llhttp, its head kept raw.

The common case is a response that arrives in one read: `data_received` finishes it without another call of ours.
Anything else (several reads, interim responses, HEAD, bodies that end with the connection) takes the slower methods
below it. Measured: framing by llhttp with a raw head costs 0.7 us a response, llhttp with header callbacks 1.9 us.

A head that llhttp has read before, byte for byte, says the same again: it is looked up instead of parsed. Servers send
equal heads within a second (`Date` changes then), so under load most responses cost no parser at all.
"""

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, cast

import httptools

from loadproof.http.call import KnownHead
from loadproof.http.errors import (
    ConnectError,
    HttpError,
    ProtocolError,
    RequestTimeout,
    ResponseTooLarge,
    ServerDisconnected,
)
from loadproof.http.response import Response

if TYPE_CHECKING:
    from loadproof.http.call import QuickCall, Route
    from loadproof.http.client import HttpClient

_new_response = object.__new__
_END = b"\r\n\r\n"
_NO_TRAILERS = b"\r\n0\r\n\r\n"
_STATUS_MIN = 100  # RFC 9110 15
_HEADS_MAX = 256  # heads kept of one origin; emptied when full, which `Date` lets happen each few minutes
_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class Connection(asyncio.Protocol):
    """States: idle (`call` is None, listed in `pool`), busy (`call` set), lost (`transport` is None)."""

    __slots__ = (
        "_body", "_body_bytes", "_chunked", "_chunks", "_complete", "_excess", "_feed", "_head", "_head_buffer",
        "_interim", "_interim_bytes", "_keep", "_parser", "_received", "_status", "_tail", "call", "client", "pool",
        "route", "sent_ns", "served", "timeout_ns", "transport", "waiting_body", "write",
    )  # fmt: skip

    def __init__(self, client: "HttpClient", route: "Route", pool: "list[Connection]") -> None:
        self.client = client
        self.route = route
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.call: QuickCall | None = None
        self.waiting_body = b""
        self.sent_ns = 0
        self.served = 0
        self.timeout_ns = client.timeout_ns
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._status = 0
        self._keep = False
        self._reset()

    def _reset(self) -> None:
        self._received = 0
        self._body: bytes = b""
        self._chunks: bytearray | None = None
        self._body_bytes = 0
        self._complete = False
        self._excess = False
        self._interim = 0
        self._interim_bytes = 0
        self._head: bytes | None = None
        self._head_buffer = b""
        self._chunked = False
        self._tail = b""

    def attach(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on (again after TLS was started on it)."""
        self.transport = transport
        self.write = transport.write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop once connected."""
        self.attach(cast("asyncio.Transport", transport))

    def begin(self, call: "QuickCall") -> None:
        """Send `call`; its future is resolved here or by the client. Only on an idle connection."""
        self.call = call
        self.sent_ns = monotonic_ns()
        options = call.options
        timeout = options.get("timeout") if options else None
        self.timeout_ns = self.client.timeout_ns if timeout is None else round(timeout * 1e9)
        if call.body_at:
            self.waiting_body = call.wire[call.body_at :]
            self.write(call.wire[: call.body_at])
            loop = asyncio.get_running_loop()
            loop.call_later(self.client.engine.stages.expect_ns / 1e9, self._stop_waiting, call)
        else:
            self.write(call.wire)

    def send_waiting_body(self) -> None:
        """Send the body that waited for 100 Continue."""
        body, self.waiting_body = self.waiting_body, b""
        if body and self.transport is not None:
            self.write(body)

    def _stop_waiting(self, call: "QuickCall") -> None:
        if self.call is call:
            self.send_waiting_body()

    # ---- arrival

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what arrived; its time is taken first of all."""
        now_ns = monotonic_ns()
        call = self.call
        if call is None or self._received or not call.plain:
            self._received_otherwise(data, now_ns)
            return
        route = self.route
        usual = route.usual
        if len(data) == usual[5] and data.startswith(usual[4]):
            self._deliver(call, usual, data[len(usual[4]) :], now_ns)
            return
        end = data.find(_END)
        head = data[:end]
        heads = route.heads
        known = heads.get(head)
        if known is not None and len(data) - end == known[1]:
            route.usual = known
            self._deliver(call, known, data[end + 4 :], now_ns)
            return
        self._received = len(data)
        try:
            self._feed(data)
        except _PARSER_ERRORS as error:
            self._broken(error, data)
            return
        if not self._complete or self._interim:
            self._more_to_come(data, now_ns)
            return
        body = self._body
        lowered = head.lower()
        if (
            self._chunks is not None
            or not self._keep
            or self._excess
            or len(data) != end + 4 + len(body)
            or lowered.find(b"\r\nset-cookie:") >= 0  # `in` takes twice as long on bytes
            or not 200 <= self._status < 300
        ):
            self._know_head(head)
            self._keep_tail(data)
            if not self._over_limits():
                self._finish(call, now_ns)
            return
        self._received = 0
        self._body = b""
        self._body_bytes = 0
        self._complete = False
        if len(heads) >= _HEADS_MAX:
            heads.clear()
        encoded = lowered.find(b"\r\ncontent-encoding:") >= 0
        known = heads[head] = KnownHead(self._status, len(data) - end, encoded, head, data[: end + 4], len(data))
        self._deliver(call, known, body, now_ns)

    def _deliver(self, call: "QuickCall", known: KnownHead, body: bytes, now_ns: int) -> None:
        """Hand over a response of the common kind; the connection is idle again."""
        self.call = None
        self.served += 1
        self.pool.append(self)
        future = call.future
        if not future.done():
            elapsed_ns = now_ns - call.started_ns
            response = _new_response(Response)  # as its constructor does, without a call of a Python function
            response.call = call
            response.status = known[0]
            response.head = known[3]
            response._raw = body
            response._body = None if known[2] else body
            response.elapsed_ns = elapsed_ns
            response.accepted = False
            response.scope = response._headers = None
            response.history = ()
            try:
                self.client.scope.on_response(response, call.endpoint, elapsed_ns)
            except Exception as error:  # what the scope raises belongs to its user's task, not to the event loop
                future.set_exception(error)
                return
            del call.future  # else call, future and response refer to each other and only the collector frees them
            future.set_result(response)

    def on_body(self, data: bytes) -> None:
        """Called by the parser with a piece of the body."""
        if self._complete:  # of a second response, which nobody asked for
            self._excess = True
            return
        self._body_bytes += len(data)
        if self._body_bytes > self.route.limits.body_bytes_max:
            return  # counted, not kept; `_check_limits` ends it after this read
        if self._chunks is not None:
            self._chunks += data
        elif self._body:
            self._chunks = bytearray(self._body + data)  # no list: a million one-byte chunks would be a big one
        else:
            self._body = data

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a response, interim ones included."""
        status = self._parser.get_status_code()
        if status < _STATUS_MIN:
            raise ValueError(f"status {status}")
        if status < 200 and status != 101:
            self._interim += 1
            if status == 100:
                self.send_waiting_body()
            return
        if self._complete:
            self._excess = True
            return
        self._complete = True
        self._status = status
        self._keep = self._parser.should_keep_alive()

    # ---- slower ways

    def _received_otherwise(self, data: bytes, now_ns: int) -> None:
        """Not the first bytes of a plain response: more of one, those of a HEAD or of a hop, or unasked ones."""
        call = self.call
        if call is None:  # nobody asked: the stream can't be trusted any more
            self.close()
            return
        self._received += len(data)
        if call.method == "HEAD":
            self._received_head_only(call, data, now_ns)
            return
        try:
            self._feed(data)
        except _PARSER_ERRORS as error:
            self._broken(error, data)
            return
        self._more_to_come(data, now_ns)

    def _more_to_come(self, data: bytes, now_ns: int) -> None:
        """Keep the head together over several reads, skip interim heads, and finish when the parser says so."""
        call = self.call
        if call is None:
            return
        if self._head is None:
            held = self._head_buffer + data
            buffer = held.lstrip(b"\r\n")
            while self._interim:
                self._interim -= 1
                buffer = buffer[buffer.find(_END) + 4 :].lstrip(b"\r\n")
            self._interim_bytes += len(held) - len(buffer)
            self._head_buffer = buffer
            end = buffer.find(_END)
            if end >= 0:
                self._know_head(buffer[:end])
                self._head_buffer = b""
                if self._chunked:
                    data = buffer[end:]
        self._keep_tail(data)
        if self._over_limits():
            return
        if self._complete:
            self._finish(call, now_ns)

    def _know_head(self, head: bytes) -> None:
        self._head = head
        self._chunked = b"\r\ntransfer-encoding:" in head.lower()

    def _keep_tail(self, data: bytes) -> None:
        """Keep the last bytes of a chunked message: its trailers are read from them when asked for."""
        if self._chunked:
            most = self.route.limits.trailer_bytes_max
            self._tail = data[-most:] if len(data) >= most else (self._tail + data)[-most:]

    def _over_limits(self) -> bool:
        limits = self.route.limits
        if self._body_bytes > limits.body_bytes_max:
            self.fail(ResponseTooLarge(f"body is over {limits.body_bytes_max} bytes"))
        elif len(self._head or self._head_buffer) > limits.head_bytes_max:
            self.fail(ResponseTooLarge(f"response head is over {limits.head_bytes_max} bytes", stage="first byte"))
        elif self._received - self._body_bytes > 2 * limits.head_bytes_max + 16 * self._body_bytes:
            # Interim responses, chunk sizes and trailers carry no body: they may not go on for ever.
            self.fail(ResponseTooLarge("response has more framing than content"))
        else:
            return False
        return True

    def _received_head_only(self, call: "QuickCall", data: bytes, now_ns: int) -> None:
        """A HEAD response ends with its head, whatever lengths it names: read by a parser of its own."""
        self._head_buffer = buffer = self._head_buffer + data
        probe = _HeadProbe()
        try:
            probe.feed(buffer)
        except _PARSER_ERRORS as error:
            if probe.status < 200:
                self._broken(error, data)
                return
        if len(buffer) > self.route.limits.head_bytes_max:
            self.fail(ResponseTooLarge("response head is over its limit", stage="first byte"))
            return
        if probe.status < 200:
            return
        for _ in range(probe.interim):
            buffer = buffer[buffer.find(_END) + 4 :]
        self._interim_bytes = len(self._head_buffer) - len(buffer)
        end = buffer.find(_END)
        self._know_head(buffer[:end])
        self._excess = len(buffer) != end + 4
        self._status, self._keep = probe.status, probe.keep
        self._finish(call, now_ns)

    def _finish(self, call: "QuickCall", now_ns: int) -> None:
        """Hand a complete response to the client, and keep or close the connection."""
        head, status = self._head or b"", self._status
        body = bytes(self._chunks) if self._chunks is not None else self._body
        framing = self._interim_bytes + len(head) + 4 + len(body)
        whole = self._chunked or self._received <= framing
        keep = self._keep and whole and not self._excess and not self.waiting_body
        response = Response(call, status, head, body, now_ns - call.started_ns)
        if self._tail and not self._excess and not self._tail.endswith(_NO_TRAILERS):
            response.keep_tail(self._tail)
        if keep and self.transport is not None and not self.transport.get_write_buffer_size():
            self.served += 1
            self.call = None
            self._reset()
            self.pool.append(self)
        else:
            self.call = None
            self.close()
        self.client.settle(call, response)

    def _broken(self, error: Exception, data: bytes) -> None:
        if self._complete and self.call is not None:  # what follows a complete response is not the user's business
            now_ns = monotonic_ns()
            self._excess = True
            self._more_to_come(data, now_ns)
            return
        stage = "first byte" if self._head is None and not self._body_bytes else "body"
        self.fail(ProtocolError(f"malformed response: {error}", stage=stage))

    # ---- endings

    def eof_received(self) -> None:
        """The peer sends no more: an idle connection must not be used again; `connection_lost` follows."""
        self._leave_pool()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop at the end: completes a body that ends with the connection, else fails the call."""
        self._forget()
        self._leave_pool()
        call = self.call
        if call is None:
            return
        if self._ends_with_connection() and exc is None:
            self._complete, self._keep = True, False
            self._finish(call, monotonic_ns())
        elif self._head is None:
            detail = f": {exc}" if exc else ""
            self.fail(ServerDisconnected(f"connection closed before a whole response head{detail}"))
        elif exc is not None:
            self.fail(ConnectError(f"connection lost in the middle of the response: {exc}", stage="body"))
        else:
            self.fail(ProtocolError("response ended in the middle"))

    def _ends_with_connection(self) -> bool:
        """Whether the body's length is given by the end of the connection (RFC 9112 6.3)."""
        if self._head is None or self._complete or self.call is None or self.call.method == "HEAD":
            return False
        head = self._head.lower()
        self._status = self._parser.get_status_code()
        return b"\r\ncontent-length:" not in head and b"\r\ntransfer-encoding:" not in head

    def _leave_pool(self) -> None:
        if self.call is None and self in self.pool:
            self.pool.remove(self)

    def expire(self, now_ns: int, first_byte_ns: int | None) -> None:
        """Called by the engine's sweeper: end a call that took too long or that nobody waits for any more."""
        call = self.call
        if call is None:
            return
        if call.future.done():
            self.call = None
            self.close()
        elif now_ns - call.started_ns > self.timeout_ns:
            stage = "body" if self._received else "first byte"
            self.fail(RequestTimeout(f"no complete response after {self.timeout_ns / 1e9:g} s", stage=stage))
        elif first_byte_ns is not None and not self._received and now_ns - self.sent_ns > first_byte_ns:
            self.fail(RequestTimeout(f"no response after {first_byte_ns / 1e9:g} s", stage="first byte"))

    def fail(self, error: HttpError) -> None:
        """Close the connection and fail its call."""
        call, self.call = self.call, None
        may_retry = self.served > 0 and not self._received
        self._reset()
        self.close()
        if call is not None:
            self.client.unsettle(call, error, may_retry=may_retry)

    def close(self) -> None:
        """Drop the connection at once. What was in flight must have been settled before."""
        self._leave_pool()
        transport = self.transport
        if transport is not None:
            self._forget()
            transport.abort()

    def _forget(self) -> None:
        self.transport = None
        client = self.client
        client.engine.connections.discard(self)
        if self in client.connections:
            client.connections.remove(self)


class _HeadProbe:
    """Reads one head and stops: status, keep-alive, and how many interim responses came before it."""

    __slots__ = ("_parser", "interim", "keep", "status")

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.keep = False
        self.interim = 0

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        """Called by the parser at the end of a head."""
        status = self._parser.get_status_code()
        if status < _STATUS_MIN:
            raise ValueError(f"status {status}")
        if self.status >= 200:
            return
        if status < 200 and status != 101:
            self.interim += 1
            return
        self.status = status
        self.keep = self._parser.should_keep_alive()
