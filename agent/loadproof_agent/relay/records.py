"""What a relay and its controller say to each other, as plain records.

Every field has the name and meaning it has in `proto/loadproof/v1/relay.proto`. `message` is what a child says or is
told: bytes on the wire, which the relay passes on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# --- relay to controller ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RelayHello:
    """First on every stream: who the relay is and what it speaks."""

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
    """A child said this; passed on as it is. A Hello comes with the id of the token in the child's certificate."""

    agent_id: str
    epoch: int
    message: Any
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class ChildGone:
    """A child's stream to the relay ended."""

    agent_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ChildBeat:
    """A child's newest heartbeat, its workers taken together: in flight added up, the busiest CPU, the most memory."""

    agent_id: str
    epoch: int
    run_id: str
    monotonic_ns: int
    in_flight: int = 0
    cpu_permille: int = 0
    memory_bytes: int = 0
    began_ns: int = 0
    machine_cpu_permille: int = 0
    unacked: int = 0


@dataclass(frozen=True, slots=True)
class RelayBeats:
    """The heartbeats that came in since the last of these."""

    beats: tuple[ChildBeat, ...]


@dataclass(frozen=True, slots=True)
class RelayedRange:
    """A stretch of one child's deltas and its part of the block's sums; see `loadproof.metrics.Sums`.

    `started` counts arrivals or iterations, None where that is not known.
    """

    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int
    n: int = 0
    total: int = 0
    checksum: int = 0
    started: int | None = None


@dataclass(frozen=True, slots=True)
class RelayBlock:
    """Deltas of several children, merged. `number` counts from 1 in each stream."""

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
    heartbeat_ms: int = 1_000
    delta_version: int = 0


@dataclass(frozen=True, slots=True)
class RelayRefusal:
    """The relay is not let in, or is put out."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class ChildTold:
    """For a child; passed on as it is."""

    agent_id: str
    epoch: int
    message: Any


@dataclass(frozen=True, slots=True)
class ChildClosed:
    """End this child's stream: it is attached elsewhere, or put out."""

    agent_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """The child's lease of that fence lasts on, from `echo_ns` of its own clock."""

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
    """How far an agent's numbers are applied; `unwanted`: nothing of it is taken any more."""

    agent_id: str
    epoch: int
    last_seq: int
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class BlockAnswer:
    """What became of a block as a whole: "applied", "again" (with where each agent stands) or "data" (can't be)."""

    number: int
    verdict: str
    states: tuple[RangeState, ...] = ()


FromHead = RelayWelcome | RelayRefusal | ChildTold | ChildClosed | Renewals | BlockAnswer
