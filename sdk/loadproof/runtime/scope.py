"""What one virtual user's transaction has done so far: the hot path of recording, and the rules of failing.

A response is settled, counted ok or failed, at the next request or at its step's end: until then a check may accept a
status of 400 or more, or find fault with a good one.
"""

from __future__ import annotations

from binascii import hexlify
from typing import Any, NoReturn

from loadproof._errors import CheckFailed, StepFailed, UsageError
from loadproof.http.errors import HttpError
from loadproof.http.scope import RequestInfo
from loadproof.metrics.delta import Category
from loadproof.metrics.recorder import USUAL_STATUS, EndpointSeries, StepSeries, TransactionSeries
from loadproof.plan import mix64
from loadproof.runtime.context import NO_STEP, USER_START, RunContext
from loadproof.runtime.sample import sample_of

_BAD_STATUS = 400
_TRACED_BELOW = 1 << 58  # of 64 bits: 1 in 64
_SPREAD = 0x9E3779B97F4A7C15  # odd, so that different k stay different modulo 2**64
_LOW = 0xFFFFFFFFFFFFFFFF
_TRACE_HEADER = b"traceparent: "
_SPANS_MADE = 64  # formatting a number costs more than a look-up; few transactions have more requests
_NO_TRACE = b"\r\n"


def _ends(flags: bytes) -> tuple[bytes, ...]:
    """Return what ends a request's head, after the trace id, by the number of the request in its transaction."""
    return tuple(b"-%016x-%b\r\n\r\n" % (span, flags) for span in range(_SPANS_MADE))


_ENDS, _ENDS_SAMPLED = _ends(b"00"), _ends(b"01")
Pending = tuple[Any, EndpointSeries, int]


class Scope:
    """One virtual user's side of recording. `begin` and `end` enclose each transaction; it is reused for the next."""

    __slots__ = (
        "_ends", "_faulty", "_kept", "_line", "_more", "_prefix", "_span", "context", "failed", "k", "observed",
        "ordinal", "pending", "series", "starting", "step_failed", "step_name", "step_series", "steps", "think_ns",
        "waited", "where",
    )  # fmt: skip

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.series: TransactionSeries | None = None
        self.step_series: StepSeries | None = None
        self.step_name = ""
        self.where = ""
        self.step_failed = self.failed = self.starting = self.waited = False
        self.ordinal = self.think_ns = self.k = 0
        self.pending: Pending | None = None
        self._more: list[Pending] = []
        self._faulty: list[Any] = []
        self._kept: list[BaseException] = []
        self._span = 0
        high = context.trace_high
        self._prefix = b"%b00-%016x" % (_TRACE_HEADER, high) if high else b""
        self._line = b""
        self._ends: tuple[bytes, ...] = ()
        self.steps: dict[str, Any] = {}  # contexts of steps by name: they can be entered again, so one each is enough
        self.observed = context.observer is not None
        """Whether checks that hold are of interest to anybody."""

    def begin(self, series: TransactionSeries, k: int) -> None:
        """Start transaction number `k`, counted in `series`."""
        self.series = series
        self.k = k
        self.waited = False
        self.ordinal = self.think_ns = self._span = 0

    def end(self) -> None:
        """Leave the transaction: what comes after belongs to none."""
        self.series = self.step_series = self.pending = None
        if self.failed or self._kept or self._faulty or self._more:
            self.where = ""
            self.step_failed = self.failed = False
            self._kept.clear()
            self._faulty.clear()
            self._more.clear()

    # --- requests (loadproof.http.scope.RequestScope) ---

    @property
    def rank(self) -> int:
        """A hash of (seed, k): the samples of the lowest ranks are kept, on any split the same."""
        return mix64(self.context.seed, self.k)

    @property
    def trace_parent(self) -> str:
        """The W3C `traceparent` of the next request: one trace per transaction, 1 in 64 flagged as sampled."""
        return self.head_end()[len(_TRACE_HEADER) : -4].decode("ascii")

    def head_end(self) -> bytes:
        """Return the end of the next request's head: the header line of `trace_parent`, if any, and the empty line."""
        span = self._span = self._span + 1
        if span == 1 and self._prefix:
            low = (self.k + 1) * _SPREAD & _LOW
            self._line = self._prefix + hexlify(low.to_bytes(8, "big"))
            self._ends = _ENDS_SAMPLED if low < _TRACED_BELOW else _ENDS
        if not self._prefix:
            return _NO_TRACE
        if span < _SPANS_MADE:
            return self._line + self._ends[span]
        return b"%b-%016x%b" % (self._line, span, self._ends[0][17:])

    @property
    def trace_id(self) -> str:
        """The trace id of this transaction, "" when none is sent."""
        return f"{self.context.trace_high:016x}{_trace_low(self.k):016x}" if self.context.trace_high else ""

    def before_request(self) -> None:
        """Settle the response before this request. Raises StepFailed for a bad status that nothing accepted."""
        if self.pending is not None:
            self.settle()

    def on_response(self, response: Any, endpoint: str, service_ns: int) -> None:
        """Note a response; it is counted when it is settled."""
        self.waited = True
        series = self.step_series
        if series is None:
            if self.series is None:
                self.context.count("requests.outside")
                return
            series = self.series.step(NO_STEP, 1_000)
        response.scope = self
        named = series.by_name.get(endpoint)
        if named is None:
            named = series.endpoint(endpoint)
        if self.pending is not None:
            self._more.append(self.pending)
        self.pending = (response, named, service_ns)
        observer = self.context.observer
        if observer is not None:
            observer.request(self.step_name or NO_STEP, endpoint, service_ns, response, None)

    def on_error(self, error: HttpError, endpoint: str, service_ns: int, request: RequestInfo) -> None:
        """Count a request that got no response, and fail its step."""
        self.waited = True
        self._kept.append(error)
        if error.__cause__ is not None:
            self._kept.append(error.__cause__)  # what another client raises in its stead
        if self.series is None:
            self.context.count("requests.outside")
            return
        series = self.step_series
        named = (series if series is not None else self.series.step(NO_STEP, 1_000)).endpoint(endpoint)
        named.failed.append(service_ns)
        named.unusual[0] = named.unusual.get(0, 0) + 1
        self.context.count(f"requests.{error.category}")
        observer = self.context.observer
        if observer is not None:
            observer.request(self.step_name or NO_STEP, endpoint, service_ns, None, error)
        self.fail(_category(error), str(error), endpoint, request=request)

    def count(self, name: str) -> None:
        """Count an event such as `http.retried`."""
        self.context.count(name)

    def settle(self) -> None:
        """Count the pending responses. Raises StepFailed for the first of a bad status that no check accepted."""
        pending = self.pending
        self.pending = None
        if pending is None:
            return
        response, named, service_ns = pending
        if response.status == USUAL_STATUS and not self._more and not self._faulty:
            named.ok.append(service_ns)
            return
        waiting = [*self._more, pending]
        self._more.clear()
        first: StepFailed | None = None
        for response, named, service_ns in waiting:
            status = response.status
            if status != USUAL_STATUS:
                named.unusual[status] = named.unusual.get(status, 0) + 1
            refused = status >= _BAD_STATUS and not response.accepted
            faulty = refused or any(known is response for known in self._faulty)
            (named.failed if faulty else named.ok).append(service_ns)
            if refused:
                failure = StepFailed("http_status", f"status {status}", response.endpoint)
                self._kept.append(failure)
                self.fail("http_status", failure.message, response.endpoint, response=response)
                first = first or failure
        self._faulty.clear()
        if first is not None:
            raise first

    # --- checks (loadproof.checks.response.CheckScope) ---

    def check_held(self, check: str, response: Any = None) -> None:
        """Note a check that held."""
        observer = self.context.observer
        if observer is not None:
            observer.check(self.step_name or NO_STEP, _check_name(check, response), "", held=True)

    def check_broke(self, check: str, message: str, response: Any = None, *, soft: bool = False) -> None:
        """Count a failed check; raises CheckFailed unless `soft`."""
        observer = self.context.observer
        if observer is not None:
            observer.check(self.step_name or NO_STEP, _check_name(check, response), message, held=False)
        endpoint = "" if response is None else response.endpoint
        if response is not None:
            self._faulty.append(response)
        self.fail("check", message, endpoint, response=response)
        if not soft:
            failure = CheckFailed(check, message, endpoint)
            self._kept.append(failure)
            raise failure

    # --- failing ---

    def fail(
        self,
        category: Category,
        message: str,
        endpoint: str = "",
        *,
        response: Any = None,
        request: RequestInfo | None = None,
        detail: str = "",
        step: str | None = None,
    ) -> None:
        """Count one failure: the transaction and the step it happens in count as failed from here on."""
        series = self.series
        if series is None:
            return  # between two transactions: neither's
        self.failed = self.step_failed = True
        context = self.context
        if step is None:
            step = self.step_name if self.step_series is not None else (self.where if not endpoint else NO_STEP)
        at_ns = max(0, context.clock() - context.zero_ns)
        message = context.redactor.text(message)
        series.error(
            step, endpoint, category, message, at_ns,
            lambda: sample_of(self, at_ns, detail or message, response=response, request=request), self.rank,
        )  # fmt: skip
        if context.observer is not None:
            context.observer.error(step, endpoint, category, message)

    def counted(self, error: BaseException) -> bool:
        """Say whether `error`, one of its causes or all it groups was counted where it happened."""
        seen = 0
        current: BaseException | None = error
        while current is not None and seen < 20:
            if any(known is current for known in self._kept):
                return True
            if isinstance(current, BaseExceptionGroup):
                return all(self.counted(inner) for inner in current.exceptions)
            current = current.__cause__
            seen += 1
        return False

    def keep(self, error: BaseException) -> None:
        """Remember that `error` was counted."""
        self._kept.append(error)

    def refuse(self, text: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(text)


def _trace_low(k: int) -> int:
    """Return the lower half of transaction `k`'s trace id: spread evenly, because samplers look at it; never 0."""
    return (k + 1) * _SPREAD & _LOW


def _category(error: HttpError) -> Category:
    category: Category = error.category  # type: ignore[assignment]  # the client's categories are the report's
    return category


def _check_name(check: str, response: Any) -> str:
    return check if response is None else f"{check} of {response.endpoint}"


__all__ = ["NO_STEP", "USER_START", "Scope"]
