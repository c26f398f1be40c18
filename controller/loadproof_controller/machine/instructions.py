"""What the machine wants done. The shell carries instructions out in their order, before the next event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from loadproof_controller.messages import End, Lease, Reserved, Setup, SnapshotAck, Stop, Teardown, UserDraws
from loadproof_controller.relays.messages import BlockAnswer, RelayedRange

Status = Literal["finished", "aborted", "failed"]
AbortedBy = Literal["rule", "person", "infrastructure"]


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a message for an agent; lost without harm when its stream is gone."""

    agent_id: str
    message: Setup | Lease | Stop | Teardown | SnapshotAck | End | Reserved


@dataclass(frozen=True, slots=True)
class SendPrepare:
    """Send the agent the plan, the spec, the secrets and the bundle's identity."""

    agent_id: str


@dataclass(frozen=True, slots=True)
class SendStart:
    """Tell the agent to begin at `at_ns` of the controller's clock, translated to its own."""

    agent_id: str
    at_ns: int
    shared: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogAndApply:
    """Append to the run's log, flush to the kernel, then merge. An ack follows only after this."""

    agent_id: str
    epoch: int
    from_seq: int
    to_seq: int
    payload: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogAndApplyBlock:
    """As `LogAndApply`, for a block of several agents: one record, so that it is there whole or not at all."""

    ranges: tuple[RelayedRange, ...]
    payload: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendRelay:
    """Queue the answer to a relay's block; lost without harm when its stream is gone."""

    relay_id: str
    message: BlockAnswer


@dataclass(frozen=True, slots=True)
class LogDraws:
    """Append reservations to the run's log and flush, before `Reserved` goes out."""

    agent_id: str
    epoch: int
    draws: tuple[UserDraws, ...]


@dataclass(frozen=True, slots=True)
class LogState:
    """Append what must survive a crash to the run's log and flush, before any message that follows.

    `run` is the run's own facts, `members` those of the agents that changed (see `memory`).
    """

    run: dict[str, Any] = field(repr=False)
    members: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class CheckTotals:
    """An agent's Final is complete: compare its totals per series with what was merged from it."""

    agent_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Record:
    """Note something for `events.jsonl` and the report, in a plain sentence."""

    kind: str
    text: str
    agent_id: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndRun:
    """The run is over; nothing follows."""

    status: Status
    aborted_by: AbortedBy | None = None
    reason: str = ""


Instruction = (
    Send
    | SendPrepare
    | SendStart
    | SendRelay
    | LogAndApply
    | LogAndApplyBlock
    | LogDraws
    | LogState
    | CheckTotals
    | Record
    | EndRun
)
