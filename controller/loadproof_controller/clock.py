"""How far an agent's monotonic clock is from ours, from four-timestamp exchanges (as NTP does, RFC 5905 section 8)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

EXCHANGES_KEPT = 64
RTT_NS_MAX = 60_000_000_000
DRIFT_PPM = 100
"""How far two clocks may go apart, microseconds a second: 50 each, what crystals of computers keep to."""


def drift_ns(ns: int) -> int:
    """Return how far two clocks may have gone apart in that time."""
    return max(ns, 0) * DRIFT_PPM // 1_000_000


class Reading(NamedTuple):
    """One exchange: round trip without the agent's own time, offset (agent minus controller), its begin; in ns."""

    rtt_ns: int
    offset_ns: int
    at_ns: int = 0

    def uncertainty_ns(self, now_ns: int) -> int:
        """Return how far the true offset may be from this one now: half the round trip, and the drift since."""
        return (self.rtt_ns + 1) // 2 + drift_ns(now_ns - self.at_ns)


class ClockEstimate:
    """Offset of one agent's clock: that of the best among the last 64 exchanges.

    The true offset of an exchange lies within half its round trip, whatever the paths' asymmetry. Since then the clocks
    may have drifted apart, so the best is not always that with the shortest round trip: it may be minutes old.
    """

    __slots__ = ("_best", "_newest_ns", "_readings")

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=EXCHANGES_KEPT)
        self._best = Reading(0, 0)
        self._newest_ns = 0

    def add(self, sent_ns: int, received_ns: int, answered_ns: int, back_ns: int) -> bool:
        """Take one exchange: sent and back by our clock, received and answered by the agent's.

        Return False, and learn nothing, where the numbers contradict themselves.
        """
        rtt = (back_ns - sent_ns) - (answered_ns - received_ns)
        if answered_ns < received_ns or not 0 <= rtt <= RTT_NS_MAX:
            return False
        offset = ((received_ns - sent_ns) + (answered_ns - back_ns)) // 2
        self._readings.append(Reading(rtt, offset, sent_ns))
        self._newest_ns = back_ns
        self._best = min(self._readings, key=lambda reading: reading.uncertainty_ns(back_ns))
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
        """Return how well the offset was known at the newest exchange; 0 before the first."""
        return self._best.uncertainty_ns(self._newest_ns)

    def reading_at(self, now_ns: int) -> tuple[int, int] | None:
        """Return the offset and how well it is known at `now_ns` of our clock; None before the first exchange."""
        return (self._best.offset_ns, self._best.uncertainty_ns(now_ns)) if self._readings else None

    def to_agent(self, controller_ns: int) -> int:
        """Return the agent's clock at our `controller_ns`."""
        return controller_ns + self.offset_ns
