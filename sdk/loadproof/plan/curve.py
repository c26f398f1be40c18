"""The rate curve and its area, in integers: exact, so that every machine gets the same nanosecond.

Rates are in 1/1000 per second and times in nanoseconds. Twice the area under a linear piece is (from + to) *
duration, an integer; one arrival is `AREA_PER_ARRIVAL` of that unit. With D the phase's length and s = to - from,

    area(tau) * D = 2 * from * D * tau + s * tau**2

and the inverse is a quadratic equation whose root `math.isqrt` gives exactly.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from loadproof.plan.model import NS_PER_S, RATE_SCALE, ArrivalPhase

AREA_PER_ARRIVAL = 2 * RATE_SCALE * NS_PER_S
"""Area of one arrival: a rate of 1 (1/1000 per s) over 1 ns is 2 units."""


class RateCurve:
    """Piecewise-linear arrival rate over the phases of a plan, one after the other from time 0."""

    __slots__ = ("_area_starts", "_phases", "_starts", "area", "duration_ns")

    def __init__(self, phases: Sequence[ArrivalPhase]) -> None:
        self._phases = tuple(phases)
        self._starts: list[int] = []
        self._area_starts: list[int] = []
        time = area = 0
        for phase in self._phases:
            self._starts.append(time)
            self._area_starts.append(area)
            time += phase.duration_ns
            area += (phase.rate_from + phase.rate_to) * phase.duration_ns
        self.duration_ns = time
        self.area = area

    def area_start(self, phase: int) -> int:
        """Return the area before `phase`, or the whole area for the number of phases."""
        return self._area_starts[phase] if phase < len(self._phases) else self.area

    def phase_of(self, position: int) -> int:
        """Return the phase in which the area reaches `position`; of an empty stretch, the phase after it."""
        return bisect_right(self._area_starts, position) - 1

    def time_ns(self, position: int) -> int:
        """Return the greatest time t (ns) with area(t) <= `position`, for 0 <= position < area.

        In a stretch without load this is the stretch's end: an arrival waits for load to resume.
        """
        index = bisect_right(self._area_starts, position) - 1
        phase = self._phases[index]
        wanted = position - self._area_starts[index]
        slope = phase.rate_to - phase.rate_from
        if slope == 0:
            return self._starts[index] + wanted // (2 * phase.rate_from)
        length = phase.duration_ns
        half = phase.rate_from * length
        root_of = half * half + slope * wanted * length
        if slope > 0:
            return self._starts[index] + (math.isqrt(root_of) - half) // slope
        # Falling: the smaller root. ceil(sqrt(x)) = isqrt(x - 1) + 1 for x > 0.
        root = math.isqrt(root_of - 1) + 1 if root_of > 0 else 0
        return self._starts[index] + (half - root) // -slope

    def places(self, positions: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the times (as `time_ns`) and the phases of ascending `positions`, worked out phase by phase."""
        times: list[int] = []
        phases: list[int] = []
        while len(times) < len(positions):
            done = len(times)
            index = self.phase_of(positions[done])
            part = positions[done : bisect_left(positions, self.area_start(index + 1), done)]
            phase, area, start = self._phases[index], self._area_starts[index], self._starts[index]
            if phase.rate_from == phase.rate_to:
                unit = 2 * phase.rate_from
                times += [start + (position - area) // unit for position in part]
            else:
                times += map(self.time_ns, part)
            phases += [index] * len(part)
        return times, phases

    def area_until(self, t_ns: int) -> int:
        """Return the area before `t_ns`, rounded up to an integer; 0 before the start, all of it after the end."""
        if t_ns <= 0:
            return 0
        if t_ns >= self.duration_ns:
            return self.area
        index = bisect_right(self._starts, t_ns) - 1
        phase = self._phases[index]
        length = phase.duration_ns
        tau = t_ns - self._starts[index]
        slope = phase.rate_to - phase.rate_from
        return self._area_starts[index] + 2 * phase.rate_from * tau - (-slope * tau * tau // length)
