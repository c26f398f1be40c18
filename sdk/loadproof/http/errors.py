"""What can go wrong with a request, typed.

    HttpError                  category, stage, message; `recorded` once the scope has counted it
    +-- InvalidRequest         you misused it: a URL, header or option that may not be sent (also a ValueError)
    +-- TargetRefused          the host is not in the allow-list of targets; nothing was sent
    +-- DnsError               no address for the host
    +-- ConnectError           no connection, or the peer dropped it
    |   +-- ServerDisconnected closed before the head of the response was whole
    +-- TlsError               handshake or certificate
    +-- RequestTimeout         a stage took longer than allowed (also a TimeoutError)
    +-- ProtocolError          the peer broke HTTP: malformed, truncated, over a limit, undecodable
        +-- ResponseTooLarge   a named limit on headers or body was passed
        +-- DecodeError        the body is not what its Content-Encoding or charset says
        +-- TooManyRedirects   the chain is longer than the limit

Categories are those of the report: `timeout`, `connect`, `tls`, `dns`, `protocol`, `exception`.
"""

from typing import ClassVar


class HttpError(Exception):
    """A request failed. `stage` is where: policy, request, dns, connect, tls, first byte, body, decode, redirect."""

    category: ClassVar[str] = "protocol"
    default_stage: ClassVar[str] = "body"

    def __init__(self, message: str, *, stage: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage or self.default_stage
        self.recorded = False

    def __str__(self) -> str:
        return f"{self.message} (stage: {self.stage})"


class InvalidRequest(HttpError, ValueError):
    """The request may not be sent as written (control characters, unknown scheme, conflicting options)."""

    category = "exception"
    default_stage = "request"


class TargetRefused(HttpError):
    """The host is outside the allow-list of the environment; no byte was sent and no name was resolved."""

    category = "connect"
    default_stage = "policy"


class DnsError(HttpError):
    """The resolver knows no address for the host."""

    category = "dns"
    default_stage = "dns"


class ConnectError(HttpError):
    """No connection could be made, or the peer dropped it."""

    category = "connect"
    default_stage = "connect"


class ServerDisconnected(ConnectError):
    """The peer closed the connection before the head of the response was whole."""

    default_stage = "first byte"


class TlsError(HttpError):
    """The TLS handshake failed: certificate, name, protocol version."""

    category = "tls"
    default_stage = "tls"


class RequestTimeout(HttpError, TimeoutError):
    """A stage (connect, tls, first byte, body) took longer than its timeout."""

    category = "timeout"
    default_stage = "first byte"


class ProtocolError(HttpError):
    """The peer broke HTTP."""


class ResponseTooLarge(ProtocolError):
    """The response passed a limit on its head or body; the connection was closed."""


class DecodeError(ProtocolError):
    """The body does not decode as its headers say, or decodes to more than the limit."""

    default_stage = "decode"


class TooManyRedirects(ProtocolError):
    """More redirects than `HttpLimits.redirects_max`."""

    default_stage = "redirect"
