"""What the machine knows of one agent."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadproof_controller.messages import ShardGrant


@dataclass(slots=True)
class Member:
    """One agent of a run. Times by the controller's clock, except `heartbeat_clock_ns` (the agent's).

    `lease_until_ns` is the moment after which the agent cannot hold a valid lease, None before the first one; its
    heartbeats from `renew_at_ns` on are answered with a longer one. Its stream was opened anew at `back_ns`. It was
    last acked at `acked_ns`. `grants` are the shards it holds now; `shards_held` all it ever held. A `spare` came after
    the run began and holds nothing until it is dealt the shards of one that was lost; it stays `late`. An `overdue` one
    has not reported its end in time: only its Final brings it back. `forfeited` is what its users had reserved, run or
    not, when others took them over.
    """

    agent_id: str
    epoch: int
    workers: int
    weight: int
    local: bool
    attached: bool = True
    detached_ns: int | None = None
    heartbeat_ns: int | None = None
    heartbeat_clock_ns: int = 0
    prepared: bool = False
    back_ns: int | None = None
    lease_until_ns: int | None = None
    renew_at_ns: int = 0
    acked_ns: int = 0
    grants: tuple[ShardGrant, ...] = ()
    shards_held: set[int] = field(default_factory=set)
    fence: int = 0
    fenced: bool = False
    last_seq: int | None = None
    final: bool = False
    lost: bool = False
    lost_ns: int | None = None
    refused: bool = False
    spare: bool = False
    late: bool = False
    overdue: bool = False
    forfeited: int = 0

    @property
    def live(self) -> bool:
        """Return whether the agent still counts as working on the run or able to."""
        return not self.lost and not self.refused

    @property
    def working(self) -> bool:
        """Return whether its part is still expected: alive, not yet complete and not in reserve."""
        return self.live and not self.final and not self.spare

    @property
    def reachable(self) -> bool:
        """Return whether a message may reach it."""
        return self.attached and self.live
