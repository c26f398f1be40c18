"""Which worker holds which shard, and what became of every arrival. Pure: offsets are parameters, nothing is started.

An arrival of a shard whose worker died is one of three things: reported before the death (accounted by the worker),
intended before the death and never reported (lost, known only for all of the dead worker's shards together), or
intended between the death and the first arrival of the next holder (missed, counted here from the schedule).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loadproof.metrics.delta import Delivery, Delta, SecondStats
from loadproof.plan import NS_PER_S, Arrival, ArrivalSchedule, Plan
from loadproof_agent.records import ShardFinal


@dataclass(slots=True)
class _Shard:
    """One shard of the lease. `holder` None and `vacant` set: nobody runs it; `done`: its holder reported its end."""

    shard: int
    fence: int
    granted_k: int
    holder: int | None = None
    holder_first_k: int = 0
    accounted: int = 0
    done: bool = False
    vacant: Iterator[Arrival] | None = None
    upcoming: Arrival | None = None


def arrivals_before(k: int, shard: int, count: int, first_k: int = 0) -> int:
    """Return how many arrivals of residue class `shard` of `count` have first_k <= number < k."""

    def below(limit: int) -> int:
        return max(0, (limit - shard + count - 1) // count)

    return max(0, below(k) - below(first_k))


def first_at_or_after(k: int, shard: int, count: int) -> int:
    """Return the lowest arrival number of residue class `shard` of `count` that is at least `k`."""
    return k + (shard - k) % count


class ShardLedger:
    """The shards of one run on one agent. All offsets in nanoseconds since the run's start."""

    def __init__(self, plan: Plan, shard_count: int) -> None:
        self._plan = plan
        self._count = shard_count
        self._schedule = ArrivalSchedule(plan) if plan.model == "open" else None
        self._shards: dict[int, _Shard] = {}
        self._reported: Counter[int] = Counter()
        self._settled: Counter[int] = Counter()
        self._skipped: deque[Arrival] = deque()
        self._halt_ns: int | None = None
        self.fence = 0
        self.lost = 0

    # --- holding ------------------------------------------------------------------------------------------------------

    def grant(self, fence: int, grants: Iterable[tuple[int, int]], workers: list[int]) -> set[int]:
        """Hold exactly the (shard, first_k) of `grants`; returns the workers whose share changed.

        What a worker holds stays with it; new shards are dealt to those with the fewest. `workers` are the live ones;
        with none the shards are vacant from their first arrival on.
        """
        wanted = dict(grants)
        self.fence = fence
        changed = {gone.holder for shard, gone in self._shards.items() if shard not in wanted}
        self._shards = {shard: entry for shard, entry in self._shards.items() if shard in wanted}
        load = Counter(entry.holder for entry in self._shards.values())
        for shard, first_k in wanted.items():
            entry = self._shards.get(shard)
            if entry is not None:
                entry.fence = fence
                continue
            entry = _Shard(shard, fence, first_k, holder_first_k=first_k)
            self._shards[shard] = entry
            if workers:
                entry.holder = min(workers, key=lambda worker: load[worker])  # the first of equals: round-robin
                load[entry.holder] += 1
                changed.add(entry.holder)
            else:
                self._vacate(entry, first_k)
        return {worker for worker in changed if worker is not None}

    def held_by(self, worker: int) -> tuple[tuple[int, int], ...]:
        """Return the (shard, first_k) that `worker` holds, ascending."""
        held = [entry for entry in self._shards.values() if entry.holder == worker]
        return tuple(sorted((entry.shard, entry.holder_first_k) for entry in held))

    def busy(self, worker: int) -> bool:
        """Say whether `worker` holds a shard it has not reported the end of."""
        return any(entry.holder == worker and not entry.done for entry in self._shards.values())

    # --- what workers say ---------------------------------------------------------------------------------------------

    def reported(self, worker: int, delta: Delta) -> None:
        """Count what `worker` accounted for in one of its deltas."""
        self._reported[worker] += sum(
            delivery.started + delivery.dropped + delivery.missed for delivery in delta.delivery.values()
        )

    def finished(self, worker: int, shards: Iterable[tuple[int, int, int]]) -> None:
        """Note the (shard, first_k, accounted) a worker ended with. Shards it does not hold are ignored."""
        for shard, _first_k, accounted in shards:
            entry = self._shards.get(shard)
            if entry is None or entry.holder != worker or entry.done:
                continue
            entry.done = True
            entry.accounted += accounted
            self._settled[worker] += accounted

    # --- death and replacement ----------------------------------------------------------------------------------------

    def died(self, worker: int, at_ns: int | None, *, reserved: int | None = None) -> tuple[int, ...]:
        """Make the unfinished shards of `worker` vacant from `at_ns` on; returns them.

        None: the load had not begun, nothing was due. The worker's index may be used again afterwards. `reserved`: how
        many iterations its users had reserved; those it did not report are lost.
        """
        unsettled = self._reported.pop(worker, 0) - self._settled.pop(worker, 0)
        left = [entry for entry in self._shards.values() if entry.holder == worker and not entry.done]
        for position, entry in enumerate(sorted(left, key=lambda entry: entry.shard)):
            entry.holder = None
            vacant_k = entry.holder_first_k
            if self._schedule is not None and at_ns is not None:
                vacant_k = max(vacant_k, first_at_or_after(self._schedule.count_until(at_ns), entry.shard, self._count))
                due = arrivals_before(vacant_k, entry.shard, self._count, entry.holder_first_k)
            else:
                due = (unsettled if reserved is None else reserved) if self._schedule is None and position == 0 else 0
            known = max(0, min(due, unsettled))
            unsettled -= known
            entry.accounted += known
            self.lost += due - known
            self._vacate(entry, vacant_k)
        return tuple(sorted(entry.shard for entry in left))

    def wanted(self, now_ns: int) -> bool:
        """Say whether a vacant shard has something left to run after `now_ns`; in the closed model its users may."""
        end_ns = self.end_ns
        if end_ns is not None and now_ns >= end_ns:
            return False
        vacant = [entry for entry in self._shards.values() if entry.holder is None]
        return bool(vacant) and (self._schedule is None or any(entry.upcoming is not None for entry in vacant))

    def adopt(self, worker: int, shards: Iterable[int], from_ns: int | None) -> None:
        """Give vacant `shards` to `worker`, from the first arrival intended at or after `from_ns` (None: all of them).

        What was intended before that and not yet counted is missed and comes with the next `missed`.
        """
        for shard in shards:
            entry = self._shards.get(shard)
            if entry is None or entry.holder is not None:
                continue
            while entry.upcoming is not None and from_ns is not None and entry.upcoming.at_ns < from_ns:
                self._skip(entry)
            entry.holder = worker
            if entry.upcoming is not None:
                entry.holder_first_k = entry.upcoming.k
            elif self._schedule is not None:
                entry.holder_first_k = first_at_or_after(self._schedule.total, shard, self._count)
            entry.vacant = entry.upcoming = None

    # --- time ---------------------------------------------------------------------------------------------------------

    def halt(self, at_ns: int) -> None:
        """Nothing intended at or after `at_ns` is wanted any more; the earliest halt counts."""
        self._halt_ns = at_ns if self._halt_ns is None else min(self._halt_ns, at_ns)

    @property
    def end_ns(self) -> int | None:
        """Offset at which the schedule ends or is halted; None where only its users know."""
        planned = self._plan.duration_ns
        if planned is None or self._halt_ns is None:
            return self._halt_ns if planned is None else planned
        return min(planned, self._halt_ns)

    def over(self, now_ns: int) -> bool:
        """Say whether every shard has come to its end: reported by its holder, or vacant and past."""
        end_ns = self.end_ns
        for entry in self._shards.values():
            if entry.holder is not None:
                if not entry.done:
                    return False
            elif self._schedule is not None and end_ns is not None:
                ahead = entry.upcoming is not None and entry.upcoming.at_ns < end_ns
                if now_ns < end_ns or (ahead and self._halt_ns is None):
                    return False  # what is due and not counted waits for the lease that says whose it is
        return True

    def missed(self, until_ns: int) -> Delta | None:
        """Return the arrivals that nobody ran and that were intended before `until_ns`, each once; None without any."""
        limit_ns = until_ns if self.end_ns is None else min(until_ns, self.end_ns)
        for entry in self._shards.values():
            while entry.upcoming is not None and entry.upcoming.at_ns < limit_ns:
                self._skip(entry)
        if not self._skipped:
            return None
        delta = Delta(from_ns=min(arrival.at_ns for arrival in self._skipped), to_ns=limit_ns)
        for arrival in self._skipped:
            transaction = self._plan.transactions[arrival.transaction].name
            phase = self._plan.phases[arrival.phase].name
            delta.delivery.setdefault((transaction, phase), Delivery()).missed += 1
            delta.seconds.setdefault((arrival.at_ns // NS_PER_S, transaction), SecondStats()).missed += 1
        delta.to_ns = max(delta.to_ns, max(arrival.at_ns for arrival in self._skipped) + 1)
        self._skipped.clear()
        return delta

    def finals(self) -> tuple[ShardFinal, ...]:
        """Return what became of each shard held, ascending."""
        return tuple(
            ShardFinal(entry.shard, entry.fence, entry.granted_k, entry.accounted)
            for entry in sorted(self._shards.values(), key=lambda entry: entry.shard)
        )

    def _vacate(self, entry: _Shard, first_k: int) -> None:
        if self._schedule is None:
            return
        entry.vacant = iter(self._schedule.shard(entry.shard, self._count, first_k))
        entry.upcoming = next(entry.vacant, None)

    def _skip(self, entry: _Shard) -> None:
        assert entry.upcoming is not None
        assert entry.vacant is not None
        self._skipped.append(entry.upcoming)
        entry.accounted += 1
        entry.upcoming = next(entry.vacant, None)
