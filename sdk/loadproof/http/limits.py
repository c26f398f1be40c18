"""Named bounds of the client: a hostile server meets one of these, never the worker's memory or patience."""

from dataclasses import dataclass

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one response and of one chain of redirects."""

    head_bytes_max: int = 65_536  # status line and headers, interim responses included
    body_bytes_max: int = 64 << 20  # as received
    decoded_bytes_max: int = 64 << 20  # after Content-Encoding is undone
    redirects_max: int = 10
    trailer_bytes_max: int = 16_384  # of fields behind a chunked body, as far as they are kept


@dataclass(frozen=True, slots=True)
class StageTimeouts:
    """Bounds of the stages of one request. The total is the client's `timeout_ns`; None leaves a stage to the total."""

    connect_ns: int | None = 30 * _SECOND_NS  # of one address; the next address gets its own
    tls_ns: int | None = 30 * _SECOND_NS
    first_byte_ns: int | None = None
    expect_ns: int = _SECOND_NS  # how long a body waits for 100 Continue before it is sent anyway
