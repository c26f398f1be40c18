"""The figures of a result: latencies, deliveries, transactions with their steps and errors, the run over time.

Units stand last in the names; see `result`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """Base of every part: frozen, finite numbers only, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Latency(Model):
    """Percentiles of one histogram in microseconds; None where it holds nothing.

    Nearest rank, upper edge of the bucket, never above the exact maximum: a percentile is never too low and at most
    0.1 % too high (`ERROR_BOUND`). `count` is the number of samples behind every value; `min`, `max` are exact.
    """

    count: Count = 0
    p50: int | None = None
    p75: int | None = None
    p90: int | None = None
    p95: int | None = None
    p99: int | None = None
    p99_9: int | None = None
    max: int | None = None
    min: int | None = None
    mean: int | None = None


ERROR_BOUND: float = 1 / 1024
"""Widest bucket of the histogram layout, relative to its lower edge: no percentile is off by more than 0.098 %."""


class DeliveryResult(Model):
    """Arrivals (open model) or iterations (closed). planned = started + dropped + missed + lost; late is in started."""

    planned: Count = 0
    started: Count = 0
    completed: Count = 0
    late: Count = 0
    dropped: Count = 0
    missed: Count = 0
    lost: Count = 0


class SampleResult(Model):
    """One redacted failing request."""

    k: int
    at_s: float
    agent_id: str = ""
    trace_id: str = ""
    request: str = ""
    response: str = ""
    detail: str = ""


class ErrorResult(Model):
    """One kind of failure, folded. `load_per_s` is the offered load (starts per second, all) when it was first seen.

    `agent_failures` is how often each agent saw it, at most 64 agents. `agents` are those and the ones that the kept
    samples come from; others may have seen it too, unless `agents_complete`: every failure is counted by agent.
    `samples` holds at most 5 of them.
    """

    category: str
    message: str
    step: str = ""
    endpoint: str = ""
    count: Count
    first_seen_s: float
    last_seen_s: float
    phases: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    agents_complete: bool = False
    agent_failures: dict[str, Count] = Field(default_factory=dict)
    load_per_s: float | None = None
    samples: tuple[SampleResult, ...] = ()


class EndpointResult(Model):
    """One request target inside a step. `statuses` counts responses by HTTP status, "0" is no response."""

    name: str
    count: Count = 0
    ok: Count = 0
    failed: Count = 0
    service_time_us: Latency = Latency()
    failed_service_time_us: Latency = Latency()
    statuses: dict[str, int] = Field(default_factory=dict)


class StepResult(Model):
    """One step, in the order of running. `not_reached` counts runs that an earlier failure ended before it.

    `knee_per_s` is the offered load from which on its median is over twice that of the lowest load; `p50_us_low` and
    `p50_us_high` are then the medians at the lowest and the highest load.
    """

    name: str
    count: Count = 0
    ok: Count = 0
    failed: Count = 0
    not_reached: Count = 0
    service_time_us: Latency = Latency()
    failed_service_time_us: Latency = Latency()
    endpoints: tuple[EndpointResult, ...] = ()
    knee_per_s: float | None = None
    p50_us_low: Count | None = None
    p50_us_high: Count | None = None


class PhaseResult(Model):
    """A transaction within one phase (phase by intended start)."""

    phase: str
    warmup: bool = False
    count: Count = 0
    ok: Count = 0
    failed: Count = 0
    success_rate: Share | None = None
    delivery: DeliveryResult = DeliveryResult()
    response_time_us: Latency = Latency()
    service_time_us: Latency = Latency()


class LoadBand(Model):
    """A transaction while the whole offered load lay in [`from_per_s`, `to_per_s`): merged, not averaged.

    `response_time_us` covers what succeeded; `failed` is part of `completed`, `dropped` is not.
    """

    from_per_s: float
    to_per_s: float
    seconds: Count
    completed: Count
    failed: Count
    dropped: Count = 0
    response_time_us: Latency = Latency()

    @property
    def everyone(self) -> int:
        """Return how many came: completed and dropped."""
        return self.completed + self.dropped

    @property
    def failed_share(self) -> float:
        """Return the share of all who came that failed or were dropped; 0 of nobody."""
        return (self.failed + self.dropped) / self.everyone if self.everyone else 0.0


class TransactionResult(Model):
    """One business flow. Latencies cover ok transactions; failed ones stand beside them.

    Everything covers the whole run; `judged` leaves warm-up phases out (None: there are none). `knee_per_s` is the
    offered load from which on the median is over twice that of the lowest load, `failing_per_s` the one from which on
    at least 5 % fail that did not at the lowest load.
    """

    name: str
    tags: tuple[str, ...] = ()
    criticality: str = "normal"
    owner: str = ""
    weight: Count = 1
    share: Share = 0.0
    count: Count = 0
    ok: Count = 0
    failed: Count = 0
    success_rate: Share | None = None
    throughput_per_s: float = 0.0
    delivery: DeliveryResult = DeliveryResult()
    response_time_us: Latency = Latency()
    service_time_us: Latency = Latency()
    failed_response_time_us: Latency = Latency()
    lateness_us: Latency = Latency()
    judged: PhaseResult | None = None
    by_phase: tuple[PhaseResult, ...] = ()
    load_bands: tuple[LoadBand, ...] = ()
    knee_per_s: float | None = None
    failing_per_s: float | None = None
    steps: tuple[StepResult, ...] = ()
    errors: tuple[ErrorResult, ...] = ()
    errors_total: Count = 0


class Story(Model):
    """How one transaction failed: where first, with what, since when, under which load, what it kept from running.

    `agents` and `agents_complete` are as in the error: perhaps not all that saw it.
    """

    transaction: str
    criticality: str = "normal"
    step: str = ""
    endpoint: str = ""
    category: str
    message: str
    count: Count
    share: Share = 0.0
    first_seen_s: float
    last_seen_s: float
    load_per_s: float | None = None
    agents: tuple[str, ...] = ()
    agents_complete: bool = False
    not_reached: dict[str, int] = Field(default_factory=dict)
    text: str = ""


class Quartiles(Model):
    """The percentiles of one interval of the timeline, microseconds."""

    p50: int | None = None
    p95: int | None = None
    p99: int | None = None


class IntervalOfTransaction(Model):
    """One transaction in one interval. `errors` counts failures by category, in the interval they were reported in."""

    planned: Count = 0
    started: Count = 0
    completed: Count = 0
    failed: Count = 0
    late: Count = 0
    dropped: Count = 0
    missed: Count = 0
    in_flight: Count = 0
    errors: dict[str, Count] = Field(default_factory=dict)
    response_time_us: Quartiles = Quartiles()
    service_time_us: Quartiles = Quartiles()


class Interval(IntervalOfTransaction):
    """All transactions in [`second`, `second` + `interval_s`) and each by name. `in_flight` is the highest seen.

    `response_time_us` covers ok and failed transactions completed in the interval.
    """

    second: Count
    interval_s: Annotated[int, Field(ge=1)]
    transactions: dict[str, IntervalOfTransaction] = Field(default_factory=dict)


class HeatMap(Model):
    """Completed transactions by time and response time: `cells` are (column, row, count), zeros left out.

    Column c covers [c, c + 1) x `interval_s`, row r response times in [`edges_us`[r], `edges_us`[r + 1]).
    """

    transaction: str
    interval_s: Annotated[int, Field(ge=1)]
    edges_us: tuple[int, ...]
    cells: tuple[tuple[int, int, int], ...] = ()


class HealthInterval(Model):
    """The worst generator readings of one interval over the fleet."""

    second: Count
    interval_s: float
    worker_cpu_permille: Count = 0
    machine_cpu_permille: Count = 0
    memory_bytes: Count = 0
    open_files: Count = 0
    gc_pause_us_max: Count = 0
    loop_lag_us_p99: int | None = None
