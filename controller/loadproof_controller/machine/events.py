"""What can happen to a run. Pure records; the time of an event is a parameter of `RunMachine.handle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from loadproof_controller.messages import Problem, ShardFinal, UserDraws
from loadproof_controller.relays.messages import RelayedRange

StopBy = Literal["person", "rule"]


@dataclass(frozen=True, slots=True)
class AgentAttached:
    """An agent's stream is open and its clock is known; after a break the same event says it is back.

    `weight` is its capacity: workers times capacity in thousandths. `local` agents share our machine: when their stream
    ends, their process has.
    """

    agent_id: str
    epoch: int
    workers: int = 1
    weight: int = 1000
    local: bool = False


@dataclass(frozen=True, slots=True)
class AgentDetached:
    """An agent's stream ended, for whatever reason."""

    agent_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class AgentRefused:
    """An agent was put out for what it said, and stays out."""

    agent_id: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """An agent's supervisor lives; `monotonic_ns` by the agent's clock."""

    agent_id: str
    epoch: int
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """An agent imported and checked the suite; ready when there are no problems."""

    agent_id: str
    epoch: int
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SetupDone:
    """The set-up hook returned (or there is none), or failed."""

    agent_id: str
    epoch: int
    shared: bytes = b"null"
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class TeardownDone:
    """The teardown hook returned (or there is none), or failed."""

    agent_id: str
    epoch: int
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class SnapshotReceived:
    """Deltas `from_seq` to `to_seq` of one agent, decoded and checked; the machine never looks into `payload`."""

    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int
    payload: Any = None


@dataclass(frozen=True, slots=True)
class BlockReceived:
    """Deltas of several agents that a relay has merged, each agent named once; decoded and checked if it is new."""

    relay_id: str
    number: int
    ranges: tuple[RelayedRange, ...]
    payload: Any = None


@dataclass(frozen=True, slots=True)
class BeatsReceived:
    """Supervisors behind a relay live: (agent id, epoch, its monotonic clock) of each."""

    beats: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class FinalReceived:
    """The agent's part is over; complete once `last_seq` is applied."""

    agent_id: str
    epoch: int
    last_seq: int
    shards: tuple[ShardFinal, ...] = ()


@dataclass(frozen=True, slots=True)
class DrawsReserved:
    """An agent reserves rows of unique data before it uses them."""

    agent_id: str
    epoch: int
    request: int
    draws: tuple[UserDraws, ...]


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person or a rule wants the run to end: drain first, or at once."""

    by: StopBy
    reason: str
    immediate: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


Event = (
    AgentAttached
    | AgentDetached
    | AgentRefused
    | HeartbeatReceived
    | Prepared
    | SetupDone
    | TeardownDone
    | SnapshotReceived
    | BlockReceived
    | BeatsReceived
    | FinalReceived
    | DrawsReserved
    | StopRequested
    | Tick
)
