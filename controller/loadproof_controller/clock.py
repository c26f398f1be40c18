"""How far an agent's monotonic clock is from ours, from four-timestamp exchanges (as NTP does, RFC 5905 section 8)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

EXCHANGES_KEPT = 64
RTT_NS_MAX = 60_000_000_000


class Reading(NamedTuple):
    """One exchange: round trip without the agent's own time, and offset (agent minus controller), nanoseconds."""

    rtt_ns: int
    offset_ns: int


class ClockEstimate:
    """Offset of one agent's clock: that of the exchange with the shortest round trip among the last 64.

    The true offset of that exchange lies within half its round trip, whatever the paths' asymmetry: that is
    `uncertainty_ns`.
    """

    __slots__ = ("_best", "_readings")

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=EXCHANGES_KEPT)
        self._best = Reading(0, 0)

    def add(self, sent_ns: int, received_ns: int, answered_ns: int, back_ns: int) -> bool:
        """Take one exchange: sent and back by our clock, received and answered by the agent's.

        Return False, and learn nothing, where the numbers contradict themselves.
        """
        rtt = (back_ns - sent_ns) - (answered_ns - received_ns)
        if answered_ns < received_ns or not 0 <= rtt <= RTT_NS_MAX:
            return False
        offset = ((received_ns - sent_ns) + (answered_ns - back_ns)) // 2
        self._readings.append(Reading(rtt, offset))
        self._best = min(self._readings)
        return True

    @property
    def exchanges(self) -> int:
        """Return how many exchanges are kept."""
        return len(self._readings)

    @property
    def offset_ns(self) -> int:
        """Return agent clock minus controller clock; 0 before the first exchange."""
        return self._best.offset_ns

    @property
    def uncertainty_ns(self) -> int:
        """Return half the shortest round trip, rounded up; 0 before the first exchange."""
        return (self._best.rtt_ns + 1) // 2

    def to_agent(self, controller_ns: int) -> int:
        """Return the agent's clock at our `controller_ns`."""
        return controller_ns + self.offset_ns
