"""How often each name was counted over time, bounded: neighbouring intervals are added in pairs beyond the limits."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from loadproof.metrics.cells import INTERVALS_MAX

TALLIES_MAX = 400_000
"""Most counts kept over all intervals and names, a few tens of megabytes."""

Name = TypeVar("Name", bound=Hashable)


class Tallies(Generic[Name]):
    """Counts by (interval, name). `width_s` is the length of an interval in whole seconds, a power of two.

    The sum over all intervals is exact whatever happens; only the resolution is lost. Names are the caller's to bound:
    a single interval keeps all of its own.
    """

    def __init__(self, *, intervals_max: int = INTERVALS_MAX, tallies_max: int = TALLIES_MAX) -> None:
        self.width_s = 1
        self._intervals_max = intervals_max
        self._tallies_max = tallies_max
        self._rows: dict[int, dict[Name, int]] = {}
        self._kept = 0

    def add(self, second: int, name: Name, n: int) -> None:
        """Count `n` more of `name` at whole second `second` since the run's start."""
        while second // self.width_s >= self._intervals_max:
            self._double()
        row = self._rows.setdefault(second // self.width_s, {})
        known = row.get(name)
        if known is not None:
            row[name] = known + n
            return
        row[name] = n
        self._kept += 1
        while self._kept > self._tallies_max and len(self._rows) > 1:
            self._double()

    def widen_to(self, width_s: int) -> None:
        """Double until an interval is at least `width_s` seconds long."""
        while self.width_s < width_s:
            self._double()

    def rename(self, mapping: Callable[[Name], Name]) -> None:
        """Give every count the name `mapping` returns, adding those that fall together."""
        self._rebuild(lambda interval: interval, mapping)

    def by_name(self) -> dict[Name, dict[int, int]]:
        """Return {name: {first whole second of the interval: count}}, in time order."""
        out: dict[Name, dict[int, int]] = {}
        for interval in sorted(self._rows):
            for name, n in self._rows[interval].items():
                out.setdefault(name, {})[interval * self.width_s] = n
        return out

    def _double(self) -> None:
        self.width_s *= 2
        self._rebuild(lambda interval: interval // 2, lambda name: name)

    def _rebuild(self, place: Callable[[int], int], mapping: Callable[[Name], Name]) -> None:
        rows: dict[int, dict[Name, int]] = {}
        for interval, row in self._rows.items():
            target = rows.setdefault(place(interval), {})
            for name, n in row.items():
                renamed = mapping(name)
                target[renamed] = target.get(renamed, 0) + n
        self._rows = rows
        self._kept = sum(map(len, rows.values()))
