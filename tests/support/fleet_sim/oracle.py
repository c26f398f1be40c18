"""Knows what really happened, and says when something happened that must not. Asked at every step."""

from __future__ import annotations

from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING, Any

from fleet_sim.world import MS, CachedSchedule, S, Tally, World, merge

if TYPE_CHECKING:
    from fleet_sim.agents import Process
    from loadproof_controller.clock import ClockEstimate

Name = tuple[str, int]
OVERDUE_NS = S + 150 * MS
CLOCK_ERROR_NS = 60 * MS
"""How far two agents' zeros may be apart in the simulated network."""


class Violation(AssertionError):
    """An invariant does not hold."""


class Oracle:
    """The truth of one simulated run."""

    def __init__(self, world: World, schedule: CachedSchedule, *, orphan_grace_ns: int) -> None:
        self.world, self.schedule = world, schedule
        self.orphan_grace_ns = orphan_grace_ns
        self.start_ns: int | None = None
        self.fates: dict[int, tuple[str, Process]] = {}
        self.decided_ns: dict[int, int] = {}
        self.recorded: dict[Name, Tally] = {}
        self.numbers: dict[Name, list[Tally]] = {}
        self.merged: Tally = Tally()
        self.merged_of: dict[Name, Tally] = {}
        self.durable: dict[Name, int] = {}
        self.applied: list[Tally] = []
        self.blocks: dict[tuple[Name, int], tuple[int, bytes]] = {}
        self.holders: dict[int, list[Process]] = {}
        self.dealt: dict[int, set[Name]] = {}
        self.workers_died: dict[Name, list[int]] = {}
        self.teardowns = 0
        self.setups = 0
        self.blocks_applied = 0
        self._known: set[int] = set()

    def fail(self, text: str) -> None:
        """Raise; the seed is added by whoever knows it."""
        raise Violation(f"{text} (at {(self.world.now - 1_000 * S) / S:.3f} s)")

    # --- agents -------------------------------------------------------------------------------------------------------

    def granted(self, process: Process, shards: list[int]) -> None:
        """A process holds these shards now."""
        for shard in shards:
            holders = self.holders.setdefault(shard, [])
            if process not in holders:
                holders.append(process)

    def decided(self, process: Process, fate: str, arrival: Any, _now_ns: int) -> None:
        """A worker decides the fate of an arrival, now."""
        known = self.fates.get(arrival.k)
        if known is not None:
            before, other = known
            self.fail(f"arrival {arrival.k} is {fate} by {process.name}, and was {before} by {other.name}")
        self.fates[arrival.k] = (fate, process)
        self.decided_ns[arrival.k] = self.world.now
        self.recorded.setdefault(process.name, Tally())
        if fate == "started":
            self._may_start(process, arrival)

    def _may_start(self, process: Process, arrival: Any) -> None:
        assert self.start_ns is not None, "started before the start was ordered"
        late_ns = self.world.now - self.start_ns - arrival.at_ns
        if late_ns > OVERDUE_NS:
            self.fail(f"arrival {arrival.k} was started {late_ns / S:.3f} s late: a burst")
        if late_ns < -max(CLOCK_ERROR_NS, process.sim.slow_ns_max):
            self.fail(f"arrival {arrival.k} was started {-late_ns / S:.3f} s early")
        heard_ns = process.heard_ns if process.heard_ns is not None else process.born_ns
        if self.world.now - heard_ns > self.orphan_grace_ns + 500 * MS:
            self.fail(f"{process.name} starts load {(self.world.now - heard_ns) / S:.1f} s after the last word")

    def skipped(self, process: Process, tally: Tally) -> None:
        """A supervisor counts arrivals that nobody ran as missed."""
        for k in tally.arrivals:
            if k in self.fates:
                self.fail(f"arrival {k} is counted as missed and was {self.fates[k][0]} before")
            self.fates[k] = ("missed", process)

    def numbered(self, process: Process, tally: Tally) -> None:
        """A process gives a tally its number; from here on it is recorded."""
        self.numbers.setdefault(process.name, []).append(tally)
        self.recorded[process.name] = merge(self.recorded.get(process.name, Tally()), tally)

    def sent(self, process: Process, block: Any) -> None:
        """An agent sends a block, for the first time or again: then it is the same to the byte."""
        where = block.ranges[0]
        known = self.blocks.setdefault((process.name, where.from_seq), (where.to_seq, block.delta))
        if known != (where.to_seq, block.delta):
            self.fail(f"{process.name} sends {where.from_seq} to {where.to_seq}, and sent up to {known[0]} before")

    def acked(self, process: Process, seq: int) -> None:
        """An agent is told that everything up to `seq` is durable."""
        if seq > self.durable.get(process.name, 0):
            self.fail(f"{process.name} was acked {seq}, on disk is {self.durable.get(process.name, 0)}")

    def worker_died(self, process: Process) -> None:
        """A worker takes with it what it had not handed over."""
        self.workers_died.setdefault(process.name, []).append(self.world.now)

    # --- the controller -----------------------------------------------------------------------------------------------

    def told_start(self, process: Process, at_ns: int, clock: ClockEstimate) -> None:
        """The controller orders the start, in the agent's clock: never further off than it says its clock is known."""
        assert self.start_ns is not None
        reading = clock.reading_at(self.world.now + abs(self.start_ns - self.world.now))
        off_ns = at_ns - process.clock_at(self.start_ns)
        if reading is None or abs(off_ns) > reading[1] + 1:
            self.fail(f"{process.name} is to start {off_ns} ns off, its clock is said to be known to {reading}")

    def apply_block(self, ranges: list[tuple[str, int, int, int]], tally: Tally) -> None:
        """The controller merges a relay's block: it must be what its agents recorded under those numbers, no less."""
        parts = [
            ((agent_id, epoch), reduce(merge, self.numbers.get((agent_id, epoch), [])[from_seq - 1 : to_seq], Tally()))
            for agent_id, epoch, from_seq, to_seq in ranges
        ]
        if reduce(merge, (part for _name, part in parts), Tally()).digest() != tally.digest():
            self.fail(f"a block of {ranges} holds something else than was recorded")
        for name, part in parts:
            self.apply(name, part)
        self.blocks_applied += 1

    def apply(self, name: Name, tally: Tally) -> None:
        """The controller merges a tally."""
        for k in tally.arrivals:
            if k not in self.fates:
                self.fail(f"arrival {k} is merged and was never decided")
            if k in self._known:
                self.fail(f"arrival {k} is merged twice")
            self._known.add(k)
        self.merged = merge(self.merged, tally)
        self.merged_of[name] = merge(self.merged_of.get(name, Tally()), tally)
        self.applied.append(tally)
        mine = self.recorded.get(name, Tally())
        if any(n > mine.counts[key] for key, n in self.merged_of[name].counts.items()):
            self.fail(f"more is merged of {name} than it recorded")

    def forget(self) -> None:
        """The controller lost its memory: what it merges again is not merged twice."""
        self._known.clear()
        self.merged = Tally()
        self.merged_of.clear()
        self.applied.clear()

    def counts(self, fate: str) -> Counter[tuple[str, str]]:
        """Return merged counts of a fate by (transaction, phase)."""
        return Counter({(key[1], key[2]): n for key, n in self.merged.counts.items() if key[0] == fate})

    def missing(self, stop_ns: int | None) -> list[Any]:
        """Return the arrivals nobody accounted for, intended before the stop."""
        return [
            arrival
            for arrival in self.schedule.arrivals
            if arrival.k not in self._known and (stop_ns is None or arrival.at_ns < stop_ns)
        ]
