"""What one run of a transaction left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadproof.http import Response
from loadproof.metrics import Delta, MergedState

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request. `endpoint` is "GET /products/{sku}"; `response` is None and `error` set when none came."""

    step: str
    endpoint: str
    service_ms: float
    response: Response | None
    error: BaseException | None

    @property
    def status(self) -> int:
        """HTTP status, 0 without a response."""
        return 0 if self.response is None else self.response.status


@dataclass(frozen=True, slots=True)
class RecordedCheck:
    """One check, by name ("status of GET /search", or what `user.check` was given); `message` when it did not hold."""

    step: str
    name: str
    held: bool
    message: str


@dataclass(frozen=True, slots=True)
class RecordedError:
    """One failure as the report would count it; `message` is not yet folded, but without secrets."""

    step: str
    endpoint: str
    category: str
    message: str


@dataclass(slots=True)
class RecordedStep:
    """One step that was reached. `requests` and `checks` are those made in it."""

    name: str
    ok: bool
    service_ms: float
    requests: list[RecordedRequest] = field(default_factory=list)
    checks: list[RecordedCheck] = field(default_factory=list)


@dataclass(slots=True)
class Recording:
    """Everything recorded, in order. `steps` are those reached; what is outside of steps is in the flat lists only.

    `response_ms` and `service_ms` leave out think time; `response_ms` includes `on_user_start`. `delta` is what a
    worker would have sent.
    """

    transaction: str
    ok: bool = False
    response_ms: float = 0.0
    service_ms: float = 0.0
    steps: list[RecordedStep] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    checks: list[RecordedCheck] = field(default_factory=list)
    errors: list[RecordedError] = field(default_factory=list)
    delta: Delta = field(default_factory=Delta)
    shared: Any = None

    def step(self, name: str) -> RecordedStep:
        """Return the step called `name` (the first of that name). Raises KeyError when it was not reached."""
        for step in self.steps:
            if step.name == name:
                return step
        reached = ", ".join(repr(step.name) for step in self.steps) or "none"
        raise KeyError(f"step {name!r} was not reached; reached: {reached}")

    def merged(self) -> MergedState:
        """Return the numbers as the controller would merge them."""
        state = MergedState()
        state.apply(self.delta)
        return state


class Notes:
    """Writes a `Recording` while a transaction runs (`loadproof.runtime.context.Observer`)."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._requests: list[RecordedRequest] = []
        self._checks: list[RecordedCheck] = []

    def request(self, step: str, endpoint: str, service_ns: int, response: Any, error: BaseException | None) -> None:
        """Note a request."""
        made = RecordedRequest(step, endpoint, service_ns / _NS_PER_MS, response, error)
        self._recording.requests.append(made)
        self._requests.append(made)

    def check(self, step: str, name: str, message: str, *, held: bool) -> None:
        """Note a check."""
        made = RecordedCheck(step, name, held, message)
        self._recording.checks.append(made)
        self._checks.append(made)

    def step(self, name: str, service_ns: int, *, ok: bool) -> None:
        """Note the end of a step: what was noted under its name since the last one belongs to it."""
        requests = [made for made in self._requests if made.step == name]
        checks = [made for made in self._checks if made.step == name]
        self._requests, self._checks = [], []
        self._recording.steps.append(RecordedStep(name, ok, service_ns / _NS_PER_MS, requests, checks))

    def error(self, step: str, endpoint: str, category: str, message: str) -> None:
        """Note a failure."""
        self._recording.errors.append(RecordedError(step, endpoint, category, message))
