"""A scope that remembers what the client told it."""

from dataclasses import dataclass, field

from loadproof.http.errors import HttpError
from loadproof.http.scope import RecordedResponse, RequestInfo


@dataclass
class RecordingScope:
    """Stands for a virtual user; `refuse` is raised by the next `before_request`."""

    trace_parent: str = ""
    started: int = 0
    responses: list[tuple[str, int, int]] = field(default_factory=list)  # endpoint, status, service_ns
    errors: list[tuple[str, HttpError, RequestInfo]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    refuse: Exception | None = None
    refuse_response: Exception | None = None
    pending: object = True

    def head_end(self) -> bytes:
        return b"traceparent: %b\r\n\r\n" % self.trace_parent.encode("ascii") if self.trace_parent else b"\r\n"

    def before_request(self) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.started += 1

    def on_response(self, response: RecordedResponse, endpoint: str, service_ns: int) -> None:
        self.responses.append((endpoint, response.status, service_ns))
        if self.refuse_response is not None:
            raise self.refuse_response

    def on_error(self, error: HttpError, endpoint: str, service_ns: int, request: RequestInfo) -> None:
        self.errors.append((endpoint, error, request))

    def count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
