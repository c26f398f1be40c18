"""The request and response kept to explain an error: redacted, cut, and made only when they will be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from loadproof.http import Response
from loadproof.http.errors import HttpError
from loadproof.http.scope import RequestInfo
from loadproof.metrics.delta import Sample
from loadproof.runtime.redact import Redactor

if TYPE_CHECKING:
    from loadproof.runtime.scope import Scope

_DETAIL_MAX = 2_000


def sample_of(scope: Scope, at_ns: int, detail: str, *, response: Any, request: RequestInfo | None) -> Sample:
    """Build the sample of a failure at `at_ns` (since the run's start); `detail` is redacted already or is here."""
    redactor = scope.context.redactor
    if request is None and response is not None:
        request = getattr(response, "request", None)
    return Sample(
        rank=scope.rank,
        k=scope.k,
        at_ns=at_ns,
        agent_id=scope.context.agent_id,
        trace_id=scope.trace_id,
        request="" if request is None else request_text(request, redactor),
        response="" if response is None else response_text(response, redactor),
        detail=redactor.text(detail)[:_DETAIL_MAX],
    )


def request_text(request: RequestInfo, redactor: Redactor) -> str:
    """Return a request as text: start line, headers, an empty line, the start of the body."""
    head = [f"{request.method} {redactor.text(str(request.url))}", *redactor.headers(_pairs(request.headers))]
    body = redactor.body(request.body, request.headers.get("content-type", ""))
    return "\n".join(head) + (f"\n\n{body}" if body else "")


def response_text(response: Any, redactor: Redactor) -> str:
    """Return a response as text: redirects before it, status line, headers, an empty line, the start of the body."""
    reason = getattr(response, "reason", "") or ""
    head = [f"{response.status} {reason}".rstrip(), *redactor.headers(_pairs(response.headers))]
    head[:0] = [
        f"{hop.status} {redactor.text(str(hop.url))}, {hop.elapsed_ns / 1e6:.1f} ms, redirects to"
        for hop in getattr(response, "history", ())
        if isinstance(hop, Response)
    ]
    try:
        body = redactor.body(response.body, response.headers.get("content-type", ""))
    except HttpError as error:  # a body that cannot be decoded
        body = f"<{error.message}>"
    return "\n".join(head) + (f"\n\n{body}" if body else "")


def _pairs(headers: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    multi = getattr(headers, "multi_items", None)
    return multi() if multi is not None else headers.items()
