"""What a supervisor and its workers say to each other over their socketpair. Plain records; `codec` frames them.

Offsets are nanoseconds since the run's start; other times are `time.monotonic_ns`, which both processes share.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

STACK_SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGUSR2)
"""Makes a worker print its Python stack. Suites may want the usual signals for themselves; macOS has no others."""

# --- supervisor to worker ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Import the suite from `bundle_dir`, check it against the plan, build rows. No load yet.

    `secrets` are values by name. `packages_dir` holds the packages installed for the suite; empty for none.
    """

    run_id: str
    agent_id: str
    bundle_dir: str
    plan: dict[str, Any]
    spec: dict[str, Any]
    shard_count: int
    snapshot_ns: int
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    packages_dir: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """Run the suite's set-up hook here."""


@dataclass(frozen=True, slots=True)
class Teardown:
    """Run the suite's teardown hook here, with the JSON bytes set-up gave."""

    shared: bytes


@dataclass(frozen=True, slots=True)
class Assign:
    """Hold exactly these shards, as (shard, first_k), until `lease_end_ns`; replaces what was held.

    In the closed model users that come new begin with the iterations of `continued`, as (user, iteration), the others
    with their first.
    """

    fence: int
    shards: tuple[tuple[int, int], ...]
    lease_end_ns: int
    in_flight_max: int
    continued: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Renew:
    """The lease now ends at `lease_end_ns`."""

    lease_end_ns: int


@dataclass(frozen=True, slots=True)
class Start:
    """The run's zero is `start_at_ns`."""

    start_at_ns: int
    shared: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing intended at or after `at_ns` (offset; 0 = now); `immediate` also cancels what runs."""

    at_ns: int
    immediate: bool


@dataclass(frozen=True, slots=True)
class Reserved:
    """The first so many iterations of these users are on record, as (user, iterations)."""

    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave, nothing more is wanted."""


# --- worker to supervisor ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in short and at length."""

    code: str
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The worker is ready, unless `problems` says otherwise."""

    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SetupDone:
    """Set-up's return value as JSON, or what went wrong."""

    shared: bytes
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class TeardownDone:
    """Teardown ran, or what went wrong."""

    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One interval's delta as `loadproof.metrics.codec` encodes it."""

    delta: bytes


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, each 250 ms, with what the loop is doing. The load began here at `began_ns`; 0 before."""

    monotonic_ns: int
    in_flight: int
    cpu_permille: int
    memory_bytes: int
    transaction: str = ""
    step: str = ""
    began_ns: int = 0


@dataclass(frozen=True, slots=True)
class Reserve:
    """Put the first so many iterations of these users on record before they are begun, as (user, iterations)."""

    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """Every shard held is run out or stopped and the last snapshot is sent: (shard, first_k, accounted) each.

    `accounted` is the number of the shard's arrivals (open) or iterations (closed) started, dropped or missed here.
    """

    fence: int
    shards: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Log:
    """A line of user code's log."""

    level: str
    text: str


ToWorker = Prepare | Setup | Teardown | Assign | Renew | Start | Stop | Reserved | Exit
FromWorker = Prepared | SetupDone | TeardownDone | Snapshot | Beat | Reserve | Finished | Log
