"""What goes into a relay's state machine and what comes out. Plain records; see `machine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loadproof_agent import records as r
from loadproof_agent.relay import records as rr

# --- in ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChildSpoke:
    """A child said `message` on stream `link`. `record` is the same where the relay has to read it, else None."""

    link: int
    record: r.FromAgent | None
    message: Any
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class ChildLeft:
    """A child's stream ended."""

    link: int


@dataclass(frozen=True, slots=True)
class Heard:
    """The controller said this. `told` is what a `ChildTold` carries, where the relay has to read it, else None."""

    record: rr.FromHead
    told: r.FromController | None = None


@dataclass(frozen=True, slots=True)
class UplinkOpened:
    """A stream to the controller is open; nothing was said on it yet."""


@dataclass(frozen=True, slots=True)
class UplinkClosed:
    """The stream to the controller is gone."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes."""


Event = ChildSpoke | ChildLeft | Heard | UplinkOpened | UplinkClosed | Tick

# --- out --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendUp:
    """Say this to the controller, in this order."""

    record: rr.FromRelay


@dataclass(frozen=True, slots=True)
class SendChild:
    """Say this on a child's stream: a record of ours, or what the controller said as it came."""

    link: int
    message: Any


@dataclass(frozen=True, slots=True)
class EndChild:
    """End a child's stream, after `refusal` where there is one."""

    link: int
    refusal: r.Refusal | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """End the relay: it is not let in."""

    code: str
    text: str


Instruction = SendUp | SendChild | EndChild | Leave
