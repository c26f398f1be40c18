"""What a run is to the machine: numbers only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

NS_PER_S = 1_000_000_000
OnAgentLoss = Literal["fail", "continue", "redeal"]


def _no_arrivals(_offset_ns: int) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Limits and policy of one run; times in nanoseconds.

    `duration_ns` is None where only a number of iterations ends the load. `arrivals_before` (open model) says how many
    arrivals are intended before an offset: a re-dealt shard continues from there. None in the closed model.
    A re-dealt shard's first arrival lies `redeal_lead_ns` ahead: further than clocks are uncertain and messages take,
    so nothing before it can have been started twice and nothing after it is late. In the middle of the load an agent is
    acked at most once in `ack_pause_ns`, for all that came meanwhile; it may have four deltas on their way.
    """

    run_id: str
    agents_wanted: int
    shard_count: int | None = None
    duration_ns: int | None = None
    graceful_stop_ns: int = 30 * NS_PER_S
    lease_ns: int = 15 * NS_PER_S
    orphan_grace_ns: int = 30 * NS_PER_S
    on_agent_loss: OnAgentLoss = "continue"
    arrivals_before: Callable[[int], int] | None = _no_arrivals
    first_fence: int = 1
    ack_pause_ns: int = 0
    start_lead_ns: int = NS_PER_S
    redeal_lead_ns: int = NS_PER_S // 2
    stop_lead_ns: int = NS_PER_S // 2
    detach_grace_local_ns: int = NS_PER_S
    attach_limit_ns: int = 60 * NS_PER_S
    prepare_limit_ns: int = 120 * NS_PER_S
    setup_limit_ns: int = 120 * NS_PER_S
    collect_limit_ns: int = 15 * NS_PER_S
    teardown_limit_ns: int = 60 * NS_PER_S
    teardown_hurry_ns: int = 5 * NS_PER_S

    @property
    def redeals(self) -> bool:
        """Return whether the shards of a lost agent go to others."""
        return self.on_agent_loss == "redeal"
