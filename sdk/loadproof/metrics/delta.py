"""What a worker measured in one interval, and the additive records it is made of.

A `Delta` is a sum: of samples, of counters, of seconds. Adding deltas is associative and commutative, bit for bit
(integers only), so a supervisor may add its workers', a full queue may add its two oldest, a relay its children's, and
the controller gets the same totals. Times are integers: nanoseconds since the run's start for offsets, microseconds for
latencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from loadproof.histogram.counts import Counts as Counts  # noqa: PLC0414  # part of this module's vocabulary

Outcome = Literal["ok", "failed"]
Measure = Literal["response", "service", "lateness"]
Category = Literal["check", "http_status", "timeout", "connect", "tls", "dns", "protocol", "exception", "cancelled"]

CATEGORIES: tuple[Category, ...] = (
    "check", "http_status", "timeout", "connect", "tls", "dns", "protocol", "exception", "cancelled",
)  # fmt: skip


class SeriesKey(NamedTuple):
    """Names one histogram.

    `step` and `endpoint` are "" on the transaction's own series, `endpoint` is "" on a step's. A transaction has
    `response` and `service` (and `lateness`, how late it started); steps and endpoints have `service` only.
    """

    transaction: str
    step: str
    endpoint: str
    phase: str
    outcome: Outcome
    measure: Measure


class ErrorKey(NamedTuple):
    """Names one kind of failure. `message` is folded: ids and numbers normalised, at most 200 characters."""

    transaction: str
    step: str
    endpoint: str
    category: Category
    message: str
    phase: str


class StatusKey(NamedTuple):
    """Counts responses of one endpoint by HTTP status (0: no response)."""

    transaction: str
    step: str
    endpoint: str
    phase: str
    status: int


@dataclass(slots=True)
class Sample:
    """One redacted failing request, kept to explain an error. `rank` is a hash of (seed, k): the lowest are kept."""

    rank: int
    k: int
    at_ns: int
    agent_id: str
    trace_id: str
    request: str
    response: str
    detail: str


@dataclass(slots=True)
class ErrorStats:
    """How often one kind of failure happened, first and last (ns since start), and at most 5 samples.

    `agents` is {agent id: failures} of at most 64 agents (see `by_agent`), filled in by whoever hears an agent. What it
    does not sum up to `count` came from agents that are not in it, or that nobody named.
    """

    count: int
    first_ns: int
    last_ns: int
    samples: list[Sample] = field(default_factory=list)
    agents: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class SecondStats:
    """Additive counters of one transaction in one whole second since the run's start.

    `started` by actual start, `completed` and `failed` (failed is part of completed) by completion, `late`, `dropped`
    and `missed` by intended start. `in_flight` is the number running at the second's end, added over workers.
    `response` holds the response times of the transactions completed in this second, ok and failed together.
    """

    started: int = 0
    completed: int = 0
    failed: int = 0
    late: int = 0
    dropped: int = 0
    missed: int = 0
    in_flight: int = 0
    response: Counts | None = None


@dataclass(slots=True)
class Delivery:
    """Arrivals (open model) or iterations (closed) of one transaction in one phase, exact. completed = ok + failed."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    late: int = 0
    dropped: int = 0
    missed: int = 0


@dataclass(slots=True)
class Health:
    """Generator readings of one interval; merging keeps the worst. CPU in 1/1000 of one core, lag in microseconds.

    `lag` holds event-loop lag samples; `worker_cpu_permille` is the busiest worker's; `user_cpu_us` names CPU spent in
    user code without giving back the loop, by (transaction, step): the longest single stretch in microseconds.
    """

    worker_cpu_permille: int = 0
    machine_cpu_permille: int = 0
    memory_bytes: int = 0
    open_files: int = 0
    gc_pause_us_max: int = 0
    lag: Counts | None = None
    user_cpu_us: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class Delta:
    """Everything measured in [`from_ns`, `to_ns`) since the run's start. Keys are absent where nothing happened.

    `delivery` is keyed (transaction, phase), `step_order` (transaction, step) -> lowest ordinal seen, `seconds`
    (second, transaction). `counters` are named extra counts ("http.retried", "connections.opened", ...), `draws` is
    {dataset: rows drawn}, `exhausted` {dataset: draws refused}.
    """

    from_ns: int = 0
    to_ns: int = 0
    series: dict[SeriesKey, Counts] = field(default_factory=dict)
    statuses: dict[StatusKey, int] = field(default_factory=dict)
    errors: dict[ErrorKey, ErrorStats] = field(default_factory=dict)
    step_order: dict[tuple[str, str], int] = field(default_factory=dict)
    delivery: dict[tuple[str, str], Delivery] = field(default_factory=dict)
    seconds: dict[tuple[int, str], SecondStats] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    draws: dict[str, int] = field(default_factory=dict)
    exhausted: dict[str, int] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
