"""What controller and agents say to each other, as plain records. `_wire` turns them into protobuf and back.

Times are integer nanoseconds, of the clock the field names; offsets count from the run's start. Whatever comes from an
agent is hostile until `_wire.decode_request` has bounded it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
"""Versions of the agent protocol this controller speaks, both included."""


# --- agent to controller ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """Who an agent is. `epoch` is random at every process start; `capacity_permille` is relative to its workers."""

    protocol_min: int
    protocol_max: int
    layout_id: str
    agent_id: str
    epoch: int
    version: str = ""
    python: str = ""
    host: str = ""
    pid: int = 0
    cores: int = 1
    workers: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    identity: str = field(default="", repr=False)
    capacity_permille: int = 1000
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class WorkerReading:
    """How one worker process is: age of its last sign of life in ms, CPU in thousandths of one core.

    It began the load at `began_ns` of the agent's clock; 0 before.
    """

    index: int
    pid: int
    silent_ms: int
    in_flight: int
    cpu_permille: int
    memory_bytes: int
    began_ns: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The supervisor lives. `monotonic_ns` is the agent's clock; the lease it is answered with counts from there."""

    run_id: str
    monotonic_ns: int
    workers: tuple[WorkerReading, ...] = ()
    unacked: int = 0
    machine_cpu_permille: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the suite or the machine, in short and at length."""

    code: str
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """Answer to Prepare; ready when there are no problems."""

    run_id: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SetupResult:
    """Answer to Setup; `shared` is JSON that every user sees."""

    run_id: str
    shared: bytes = b"null"
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class TeardownResult:
    """Answer to Teardown."""

    run_id: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRange:
    """A stretch of one agent's numbered deltas, both ends included."""

    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class SnapshotBlock:
    """Measured numbers; `delta` is still encoded."""

    run_id: str
    ranges: tuple[SnapshotRange, ...]
    delta: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShardFinal:
    """What became of one shard: `accounted` arrivals or iterations were started, dropped or missed."""

    shard: int
    fence: int
    first_k: int
    accounted: int


@dataclass(frozen=True, slots=True)
class Final:
    """The agent's part is over. `totals` is still encoded; `lost` arrivals nobody can account for any more."""

    run_id: str
    epoch: int
    last_seq: int
    shards: tuple[ShardFinal, ...] = ()
    totals: bytes = field(default=b"", repr=False)
    lost: int = 0


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something happened to a worker; `number` counts from 1 in each run and process."""

    run_id: str
    worker: int
    kind: str
    text: str
    transaction: str = ""
    step: str = ""
    at_offset_ns: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Lines that user code logged."""

    run_id: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pong:
    """One half of a clock exchange: `sent_ns` by the controller's clock, the others by the agent's."""

    id: int
    sent_ns: int
    received_ns: int
    answered_ns: int


@dataclass(frozen=True, slots=True)
class UserDraws:
    """Rows one user has reserved from a dataset (index in the plan) so far."""

    user: int
    dataset: int
    draws: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Draws to be recorded before they are used."""

    run_id: str
    id: int
    draws: tuple[UserDraws, ...]


FromAgent = (
    Hello
    | Heartbeat
    | PrepareResult
    | SetupResult
    | TeardownResult
    | SnapshotBlock
    | Final
    | WorkerEvent
    | LogBatch
    | Pong
    | Reserve
)


# --- controller to agent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent is in."""

    protocol: int
    agent_id: str
    heartbeat_ms: int
    orphan_grace_ms: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The agent is not let in, or is put out; `text` says why and what to do."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Fetch, import and validate; no load yet. `plan` and `spec` are JSON; `heartbeat_ms` 0 keeps Welcome's."""

    run_id: str
    plan: bytes = field(repr=False)
    spec: bytes = field(repr=False)
    bundle_sha256: str
    bundle_bytes: int
    shard_count: int
    snapshot_ms: int
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    heartbeat_ms: int = 0
    delta_version: int = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """Run the suite's set-up, on this agent only."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ShardGrant:
    """One shard of a lease; `first_k` is the first arrival to run, `draws` what earlier holders reserved."""

    shard: int
    first_k: int = 0
    draws: tuple[UserDraws, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run `shards` for `duration_ms` after `echo_ns` of the agent's clock."""

    run_id: str
    fence: int
    shards: tuple[ShardGrant, ...]
    duration_ms: int
    echo_ns: int


@dataclass(frozen=True, slots=True)
class Start:
    """Begin at a moment of the agent's own monotonic clock."""

    run_id: str
    start_at_ns: int
    shared: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing intended at or after an offset (0: now); `immediate` also cancels what runs."""

    run_id: str
    at_offset_ns: int
    immediate: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Teardown:
    """Run the suite's teardown with what set-up gave."""

    run_id: str
    shared: bytes


@dataclass(frozen=True, slots=True)
class SnapshotAck:
    """Everything up to `seq` of this agent and process is durable."""

    run_id: str
    agent_id: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Ping:
    """One half of a clock exchange, by the controller's clock."""

    id: int
    sent_ns: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """The run is over for this agent."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """The reservation is recorded."""

    run_id: str
    id: int


ToAgent = Welcome | Refusal | Prepare | Setup | Lease | Start | Stop | Teardown | SnapshotAck | Ping | End | Reserved
