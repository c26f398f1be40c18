"""What agent and controller say to each other, as plain records. `_wire` turns them into protobuf and back.

Every field has the name and meaning it has in `proto/loadproof/v1/agent.proto`; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# --- agent to controller ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """First on every stream: who the agent is, what it speaks, and the run it still holds."""

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
    capacity_permille: int = 1_000
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class WorkerReading:
    """How one worker is. It began the load at `began_ns` (monotonic); 0 before."""

    index: int
    pid: int
    silent_ms: int
    in_flight: int
    cpu_permille: int
    memory_bytes: int
    began_ns: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The supervisor lives, and how its workers are."""

    run_id: str
    monotonic_ns: int
    workers: tuple[WorkerReading, ...] = ()
    unacked: int = 0
    machine_cpu_permille: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something is wrong with the suite or the machine."""

    code: str
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """Answer to Prepare; no problems means ready."""

    run_id: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SetupResult:
    """Answer to Setup."""

    run_id: str
    shared: bytes = b""
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class TeardownResult:
    """Answer to Teardown."""

    run_id: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRange:
    """A stretch of one agent's numbered deltas."""

    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class SnapshotBlock:
    """Measured numbers of one interval or of several, merged."""

    run_id: str
    ranges: tuple[SnapshotRange, ...]
    delta: bytes


@dataclass(frozen=True, slots=True)
class ShardFinal:
    """What became of one shard."""

    shard: int
    fence: int
    first_k: int
    accounted: int


@dataclass(frozen=True, slots=True)
class Final:
    """The agent's part of the run is over and complete up to `last_seq`."""

    run_id: str
    epoch: int
    last_seq: int
    shards: tuple[ShardFinal, ...] = ()
    totals: bytes = b""
    lost: int = 0


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something happened to a worker: exited, crashed, blocked, memory or replaced."""

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
    """Lines that user code logged or printed."""

    run_id: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pong:
    """The agent's half of a clock exchange."""

    id: int
    sent_ns: int
    received_ns: int
    answered_ns: int


@dataclass(frozen=True, slots=True)
class UserDraws:
    """Rows drawn by one user from one dataset."""

    user: int
    dataset: int
    draws: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Draws to be recorded before they are used."""

    run_id: str
    id: int
    draws: tuple[UserDraws, ...] = ()


# --- controller to agent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent is in."""

    protocol: int
    agent_id: str
    heartbeat_ms: int = 1_000
    orphan_grace_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """The agent is not let in."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Fetch, import and validate; no load yet."""

    run_id: str
    plan: bytes
    spec: bytes
    bundle_sha256: str
    bundle_bytes: int
    shard_count: int
    snapshot_ms: int = 1_000
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    heartbeat_ms: int = 0
    delta_version: int = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """Run the suite's set-up, on this agent only."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ShardGrant:
    """One shard of a lease."""

    shard: int
    first_k: int = 0
    draws: tuple[UserDraws, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run exactly these shards until it expires."""

    run_id: str
    fence: int
    shards: tuple[ShardGrant, ...]
    duration_ms: int
    echo_ns: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Begin at a moment of the agent's own monotonic clock."""

    run_id: str
    start_at_ns: int
    shared: bytes = b""


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing more from an offset on (0 = now)."""

    run_id: str
    at_offset_ns: int = 0
    immediate: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Teardown:
    """Run the suite's teardown."""

    run_id: str
    shared: bytes = b""


@dataclass(frozen=True, slots=True)
class SnapshotAck:
    """Everything up to `seq` is durable at the controller."""

    run_id: str
    agent_id: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The controller's half of a clock exchange."""

    id: int
    sent_ns: int


@dataclass(frozen=True, slots=True)
class End:
    """The run is over for this agent: forget it."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """The reservation is recorded."""

    run_id: str
    id: int


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
FromController = (
    Welcome | Refusal | Prepare | Setup | Lease | Start | Stop | Teardown | SnapshotAck | Ping | End | Reserved
)
