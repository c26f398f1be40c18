"""What controller and relays say to each other, as plain records; `relays._wire` turns them into protobuf and back.

A relay is trusted to speak for the agents attached to it and for nobody else; everything it says is bounded like an
agent's. `message` is a record of `messages`, already bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from loadproof.metrics import Sums
from loadproof_controller.messages import FromAgent, ToAgent

# --- relay to controller ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RelayHello:
    """Who a relay is. `epoch` is random at every process start."""

    protocol_min: int
    protocol_max: int
    layout_id: str
    relay_id: str
    epoch: int
    version: str = ""
    host: str = ""
    identity: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ChildSaid:
    """An agent attached to the relay said `message`; with a Hello comes the id of the token it joined with."""

    agent_id: str
    epoch: int
    message: FromAgent
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class ChildGone:
    """An agent's stream to the relay ended."""

    agent_id: str
    epoch: int


class ChildBeat(NamedTuple):
    """An agent's newest heartbeat, its workers taken together as one: flat, as ten thousand agents send thousands a
    second. Fields are those of `messages.Heartbeat` and `messages.WorkerReading`.
    """

    agent_id: str
    epoch: int
    run_id: str
    monotonic_ns: int
    in_flight: int = 0
    cpu_permille: int = 0
    memory_bytes: int = 0
    began_ns: int = 0
    machine_cpu_permille: int = 0


@dataclass(frozen=True, slots=True)
class RelayBeats:
    """The heartbeats that came in since the last of these."""

    beats: tuple[ChildBeat, ...]


class RelayedRange(NamedTuple):
    """A stretch of one agent's deltas, and its part of the block's sums (`loadproof.metrics.Sums`).

    `started` counts arrivals or iterations; None from relays that do not say.
    """

    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int
    n: int = 0
    total: int = 0
    checksum: int = 0
    started: int | None = None

    @property
    def numbers(self) -> tuple[str, int, int, int]:
        """Return agent, epoch, first and last number."""
        return self[:4]

    @property
    def sums(self) -> Sums:
        """Return the agent's part of the block's sums."""
        return Sums(*self[4:7])


@dataclass(frozen=True, slots=True)
class RelayBlock:
    """Deltas of several agents, merged; `delta` is still encoded. No agent is named twice."""

    run_id: str
    number: int
    ranges: tuple[RelayedRange, ...]
    delta: bytes = field(repr=False)


FromRelay = RelayHello | ChildSaid | ChildGone | RelayBeats | RelayBlock

# --- controller to relay ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RelayWelcome:
    """The relay is in."""

    protocol: int
    heartbeat_ms: int
    delta_version: int = 0


@dataclass(frozen=True, slots=True)
class RelayRefusal:
    """The relay is not let in, or is put out; `text` says why and what to do."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class ChildTold:
    """For an agent attached to the relay."""

    agent_id: str
    epoch: int
    message: ToAgent


@dataclass(frozen=True, slots=True)
class ChildClosed:
    """End this agent's stream."""

    agent_id: str
    epoch: int


class Renewal(NamedTuple):
    """The agent's lease of that fence lasts on, from `echo_ns` of its own clock."""

    agent_id: str
    epoch: int
    fence: int
    echo_ns: int


@dataclass(frozen=True, slots=True)
class Renewals:
    """Leases that last on, each `duration_ms` from its echo."""

    run_id: str
    duration_ms: int
    renewals: tuple[Renewal, ...]


@dataclass(frozen=True, slots=True)
class RangeState:
    """How far an agent's numbers are applied; `unwanted`: nothing of it is taken (any more)."""

    agent_id: str
    epoch: int
    last_seq: int
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class BlockAnswer:
    """What became of a block as a whole: "applied", "again" (with where each agent stands), or "data" (it can't be)."""

    number: int
    verdict: str
    states: tuple[RangeState, ...] = ()


ToRelay = RelayWelcome | RelayRefusal | ChildTold | ChildClosed | Renewals | BlockAnswer


def unwanted(block: RelayBlock) -> BlockAnswer:
    """Return the answer to a block that belongs to no run that is on."""
    states = tuple(RangeState(where.agent_id, where.epoch, 0, unwanted=True) for where in block.ranges)
    return BlockAnswer(block.number, "again", states)
