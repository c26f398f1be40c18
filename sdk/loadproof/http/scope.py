"""What the client needs from the virtual user it works for. The runtime implements it; tests have a recording fake."""

from dataclasses import dataclass
from typing import Protocol

from loadproof.http.errors import HttpError
from loadproof.http.headers import Headers


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request as it was sent. `headers` is empty when it failed before it was written."""

    method: str
    url: str
    headers: Headers
    body: bytes


class RecordedResponse(Protocol):
    """The part of a response that recording needs; true of our own and of aiohttp's bridged responses."""

    @property
    def status(self) -> int:
        """HTTP status of the final response."""
        ...

    @property
    def endpoint(self) -> str:
        """Display name, `GET /products/{sku}`."""
        ...

    accepted: bool


class RequestScope(Protocol):
    """Where requests of one virtual user are recorded. Called on the loop's thread, outside the user's task."""

    @property
    def pending(self) -> object:
        """The response that is not settled yet, or None: then `before_request` need not be called."""
        ...

    @property
    def trace_parent(self) -> str:
        """The `traceparent` of the next request; "" sends none."""
        ...

    def head_end(self) -> bytes:
        """The end of the next request's head: the header line of the same, if any, and the empty line."""
        ...

    def before_request(self) -> None:
        """Settle the response before this one. May raise: then nothing is sent."""
        ...

    def on_response(self, response: RecordedResponse, endpoint: str, service_ns: int) -> None:
        """Count one finished request; called once for a whole chain of redirects."""
        ...

    def on_error(self, error: HttpError, endpoint: str, service_ns: int, request: RequestInfo) -> None:
        """Count one failed request; called before the error is raised to the suite."""
        ...

    def count(self, name: str) -> None:
        """Count an event such as `http.retried`."""
        ...
