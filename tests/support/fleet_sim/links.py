"""One attached agent, as the controller sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleet_sim.network import Stream
from loadproof_controller.clock import ClockEstimate

if TYPE_CHECKING:
    from fleet_sim.agents import Process


class Link:
    """One attached agent, as the fleet keeps it. Without a stream of its own it is behind a relay."""

    def __init__(self, stream: Stream | None, process: Process) -> None:
        self.stream, self.process = stream, process
        self.clock = ClockEstimate()
        self.ready = False

    def send(self, message: Any) -> None:
        """Send to the agent."""
        assert self.stream is not None
        self.stream.send("down", message)

    def delay_ns(self) -> int:
        """Return how long one way takes."""
        assert self.stream is not None
        return self.stream.delay_ns()

    @property
    def stalled(self) -> bool:
        """Whether nothing gets through."""
        return self.stream is not None and self.stream.stalled

    def close(self) -> None:
        """Another link has the agent's name."""
