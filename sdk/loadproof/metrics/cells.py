"""Sparse histograms over time, bounded: at most 3,600 intervals and a budget of counters, merged in pairs beyond."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from loadproof.histogram.counts import Counts, sum_counts

INTERVALS_MAX = 3_600
"""Most intervals kept of one run; past that neighbours are added in pairs and the interval doubles."""
ENTRIES_MAX = 4_000_000
"""Most non-empty counters kept over all intervals (10 bytes each)."""
_PENDING_MAX = 24

Name = TypeVar("Name", bound=Hashable)


class Cell:
    """One interval of one series. Parts are added up lazily: appending is what happens for every delta."""

    __slots__ = ("_parts", "_settled")

    def __init__(self) -> None:
        self._parts: list[Counts] = []
        self._settled = True

    def add(self, counts: Counts) -> None:
        """Note one more part."""
        self._parts.append(counts)
        self._settled = False
        if len(self._parts) > _PENDING_MAX:
            self.settle()

    def settle(self) -> int:
        """Add the parts up, so that no message's buffer is held; return the number of non-empty counters."""
        if not self._settled:
            merged = sum_counts(self._parts)
            assert merged is not None
            self._parts = [merged]
            self._settled = True
        return len(self._parts[0].indices)

    def counts(self) -> Counts:
        """Return the sum of what was added."""
        self.settle()
        return self._parts[0]

    def parts(self) -> tuple[Counts, ...]:
        """Return what adds up to the sum, without adding it up."""
        return tuple(self._parts)


class Timeline(Generic[Name]):
    """Cells by (interval, name). `width_s` is the length of an interval in whole seconds, a power of two."""

    def __init__(self, *, intervals_max: int = INTERVALS_MAX, entries_max: int = ENTRIES_MAX) -> None:
        self.width_s = 1
        self._intervals_max = intervals_max
        self._entries_max = entries_max
        self._cells: dict[int, dict[Name, Cell]] = {}
        self._open: set[tuple[int, Name]] = set()
        self._entries = 0
        self._newest = -1
        self._touched: set[int] = set()
        self._renumbered = False

    def add(self, second: int, name: Name, counts: Counts) -> None:
        """Add `counts` at whole second `second` since the run's start."""
        interval = second // self.width_s
        while interval >= self._intervals_max:
            self.double()
            interval = second // self.width_s
        if interval > self._newest:
            self._newest = interval
            self._settle()
        row = self._cells.get(interval)
        if row is None:
            row = self._cells[interval] = {}
        cell = row.get(name)
        if cell is None:
            cell = row[name] = Cell()
        cell.add(counts)
        self._open.add((interval, name))
        self._touched.add(interval)

    def _settle(self) -> None:
        """Add up the cells touched since the last new interval; halve the resolution when the budget is spent."""
        self._entries += sum(self._cells[interval][name].settle() for interval, name in self._open)
        self._open.clear()
        if self._entries > self._entries_max:
            self._recount()
            while self._entries > self._entries_max and len(self._cells) > 1:
                self.double()

    def _recount(self) -> None:
        self._entries = sum(cell.settle() for row in self._cells.values() for cell in row.values())

    def double(self) -> None:
        """Merge neighbouring intervals in pairs."""
        self.width_s *= 2
        merged: dict[int, dict[Name, Cell]] = {}
        for interval, row in self._cells.items():
            target = merged.setdefault(interval // 2, {})
            for name, cell in row.items():
                if name in target:
                    target[name].add(cell.counts())
                else:
                    target[name] = cell
        self._cells = merged
        self._newest //= 2
        self._open.clear()
        self._renumbered = True
        self._recount()

    def widen_to(self, width_s: int) -> None:
        """Double until an interval is at least `width_s` seconds long."""
        while self.width_s < width_s:
            self.double()

    def rename(self, mapping: Callable[[Name], Name]) -> None:
        """Give every cell the name `mapping` returns, adding those that fall together."""
        for interval, row in self._cells.items():
            target: dict[Name, Cell] = {}
            for name, cell in row.items():
                target.setdefault(mapping(name), Cell()).add(cell.counts())
            self._cells[interval] = target
        self._open.clear()
        self._renumbered = True
        self._recount()

    def by_name(self) -> dict[Name, dict[int, Counts]]:
        """Return {name: {first whole second of the interval: counts}}, in time order."""
        out: dict[Name, dict[int, Counts]] = {}
        for interval in sorted(self._cells):
            for name, cell in self._cells[interval].items():
                out.setdefault(name, {})[interval * self.width_s] = cell.counts()
        return out

    def row(self, interval: int) -> dict[Name, Cell]:
        """Return the cells of one interval by name; not to be changed."""
        return self._cells.get(interval, {})

    def get(self, interval: int, name: Name) -> Counts | None:
        """Return the counts of one cell, None when nothing was measured."""
        cell = self._cells.get(interval, {}).get(name)
        return None if cell is None else cell.counts()

    @property
    def renumbered(self) -> bool:
        """Return whether what `changes` gave before is void: intervals were added up in pairs, or renamed."""
        return self._renumbered

    def changes(self, *, whole: bool) -> dict[int, dict[Name, tuple[Counts, ...]]]:
        """Return the parts of each cell of the intervals added to since the last call, or of all of them."""
        wanted = self._cells if whole else self._touched
        rows = {i: {name: cell.parts() for name, cell in self.row(i).items()} for i in wanted}
        self._touched, self._renumbered = set(), False
        return rows

    def restore(self, width_s: int, rows: dict[int, dict[Name, Counts]]) -> None:
        """Hold exactly `rows`, in intervals of `width_s` seconds."""
        self.width_s = width_s
        self._cells = {}
        for interval, row in rows.items():
            cells = self._cells[interval] = {name: Cell() for name in row}
            for name, counts in row.items():
                cells[name].add(counts)
        self._newest = max(rows, default=-1)
        self._recount()
