"""What goes into the agent's state machine and what comes out. Plain records; see `machine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from loadproof_agent.records import (
    FromAgent,
    FromController,
    Lease,
    Prepare,
    PrepareResult,
    SetupResult,
    ShardFinal,
    TeardownResult,
    UserDraws,
    WorkerReading,
)

P = TypeVar("P")

# --- in ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A stream to the controller is open; nothing was said on it yet."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream is gone. What was sent and not acked may or may not have arrived."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """The controller said something."""

    record: FromController


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes; how the workers and the machine are right now."""

    workers: tuple[WorkerReading, ...] = ()
    machine_cpu_permille: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """Prepare, Setup or Teardown is done."""

    result: PrepareResult | SetupResult | TeardownResult


@dataclass(frozen=True, slots=True)
class Measured(Generic[P]):
    """One interval of all workers, added up."""

    run_id: str
    payload: P


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """Every shard held under `fence` is run out or stopped, and everything measured was handed over before."""

    run_id: str
    fence: int
    shards: tuple[ShardFinal, ...]
    totals: bytes
    lost: int = 0


@dataclass(frozen=True, slots=True)
class WorkerTrouble:
    """Something happened to a worker; fields as in `records.WorkerEvent`."""

    run_id: str
    worker: int
    kind: str
    text: str
    transaction: str = ""
    step: str = ""
    at_offset_ns: int = 0


@dataclass(frozen=True, slots=True)
class DrawsWanted:
    """A worker's users want to go on: `draws` must be on the controller's record first."""

    run_id: str
    worker: int
    draws: tuple[UserDraws, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """User code logged or printed these lines."""

    run_id: str
    lines: tuple[str, ...]


Event = (
    Connected
    | Disconnected
    | Received
    | Tick
    | Answered
    | Measured[P]
    | LoadEnded
    | WorkerTrouble
    | DrawsWanted
    | Logged
)  # fmt: skip

# --- out --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Say this to the controller, in this order."""

    record: FromAgent


@dataclass(frozen=True, slots=True)
class DropStream:
    """Close the stream and open another."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """End the agent: it is not let in."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class PrepareRun:
    """Fetch the bundle, start workers, let them import and check. Answer with a PrepareResult."""

    prepare: Prepare


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Run the set-up hook in one worker. Answer with a SetupResult."""


@dataclass(frozen=True, slots=True)
class RunTeardown:
    """Run the teardown hook in one worker. Answer with a TeardownResult."""

    shared: bytes


@dataclass(frozen=True, slots=True)
class HoldShards:
    """Hold exactly the shards of `lease`, until `lease_end_ns` (monotonic)."""

    lease: Lease
    lease_end_ns: int


@dataclass(frozen=True, slots=True)
class ExtendLease:
    """The lease held now ends at `lease_end_ns` (monotonic)."""

    lease_end_ns: int


@dataclass(frozen=True, slots=True)
class BeginLoad:
    """The run's zero is `start_at_ns` (monotonic)."""

    start_at_ns: int
    shared: bytes


@dataclass(frozen=True, slots=True)
class HaltLoad:
    """Start nothing intended at or after `at_offset_ns` (0 = now); `immediate` also cancels what runs."""

    at_offset_ns: int
    immediate: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DrawsReserved:
    """What that worker wanted is on record."""

    worker: int
    draws: tuple[UserDraws, ...]


@dataclass(frozen=True, slots=True)
class ForgetRun:
    """The run is over for this agent: its workers leave, its files go."""

    run_id: str


Instruction = (
    Send
    | DropStream
    | Leave
    | PrepareRun
    | RunSetup
    | RunTeardown
    | HoldShards
    | ExtendLease
    | BeginLoad
    | HaltLoad
    | DrawsReserved
    | ForgetRun
)
