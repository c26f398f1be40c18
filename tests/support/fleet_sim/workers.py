"""Workers and the supervisor's crew, modelled around the real pacer, arrival queue and shard ledger.

`Crew` does what `loadproof_agent.crew` does, without processes: the same order of the same calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from fleet_sim.world import MS, Tally, merge
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.ledger import ShardLedger
from loadproof_agent.worker.arrivals import ArrivalQueue, OpenPacer

if TYPE_CHECKING:
    from fleet_sim.agents import Process
    from loadproof.plan import ArrivalSchedule

SNAPSHOT_NS = 500 * MS
WORKER_TICK_NS = 60 * MS
ADOPT_MARGIN_NS = 50 * MS


class KeepingLedger(ShardLedger):
    """The real ledger, which also tells which arrivals it counted as missed."""

    def __init__(self, *args: Any, schedule: Any) -> None:
        super().__init__(*args)
        self._schedule = schedule
        self.skipped: list[int] = []

    def _skip(self, entry: Any) -> None:
        assert entry.upcoming is not None
        self.skipped.append(entry.upcoming.k)
        super()._skip(entry)


class Worker:
    """One worker process: the real decisions on arrivals, users that only take time."""

    def __init__(self, crew: Crew, index: int) -> None:
        process = crew.process
        self.crew, self.index, self.process = crew, index, process
        self.queue = ArrivalQueue(cast("ArrivalSchedule", process.schedule), crew.shard_count)
        self.pacer: OpenPacer | None = None
        self.order: tuple[int, tuple[tuple[int, int], ...], int] | None = None
        self.stop_ns: int | None = None
        self.halted = False
        self.landing: list[int] = []
        self.tally = Tally()
        self.from_ns = 0
        self.reported = -1
        self.began_ns = 0
        self.alive = True
        process.world.after(process.world.random.randrange(WORKER_TICK_NS), self.tick)

    def begin(self, start_at_ns: int) -> None:
        """The run's zero is known."""
        if self.pacer is not None:
            return
        self.pacer = OpenPacer(self.queue, self.process.clock, start_at_ns)
        self.pacer.in_flight_max = 30
        self.from_ns = max(0, self.process.clock() - start_at_ns)
        if self.order is not None:
            self.assign(*self.order)
        if self.stop_ns is not None:
            self.stop(self.stop_ns, immediate=self.halted)

    def assign(self, fence: int, shards: tuple[tuple[int, int], ...], lease_end_ns: int) -> None:
        """Hold exactly these."""
        self.order = (fence, shards, lease_end_ns)
        self.reported = -1
        if self.pacer is not None:
            self.queue.assign(shards)
            self.pacer.lease_end_ns = lease_end_ns

    def renew(self, lease_end_ns: int) -> None:
        """The lease ends later."""
        if self.order is not None:
            self.order = (self.order[0], self.order[1], lease_end_ns)
        if self.pacer is not None:
            self.pacer.renew(lease_end_ns)

    def stop(self, at_ns: int, *, immediate: bool) -> None:
        """Start nothing intended from then on."""
        self.stop_ns, self.halted = at_ns, self.halted or immediate
        if self.pacer is not None:
            at_ns = at_ns or max(0, self.process.clock() - self.pacer._zero_ns)
            known = self.pacer.stop_ns
            self.pacer.stop_ns = at_ns if known is None else min(known, at_ns)
        if self.halted:
            self.landing.clear()

    def tick(self) -> None:
        """A stretch of the worker's loop."""
        if not self.alive or self.crew.closed:
            return
        world = self.process.world
        world.after(WORKER_TICK_NS, self.tick)
        if self.process.frozen or self.pacer is None or self.order is None or self.reported == self.order[0]:
            return
        now_ns = self.process.clock()
        self.landing = [at_ns for at_ns in self.landing if at_ns > now_ns]
        self.pacer.fire(self._decide, lambda: len(self.landing))
        offset_ns = now_ns - self.pacer._zero_ns
        if offset_ns >= 0 and not self.began_ns:
            self.began_ns = now_ns
            self.process.began[now_ns] = world.now
        if offset_ns >= 0 and self.pacer.over and not self.landing:
            self._hand_over()
            self.reported = self.order[0]
            done = (self.order[0], self.queue.accounted())
            self.process.tell(lambda: self.crew.finished(self, *done))
        elif offset_ns - self.from_ns >= SNAPSHOT_NS:
            self.from_ns = offset_ns
            self._hand_over()

    def _hand_over(self) -> None:
        tally, self.tally = self.tally, Tally()
        self.process.tell(lambda: self.crew.measured(self, tally))

    def _decide(self, fate: str, arrival: Any, now_ns: int) -> None:
        process = self.process
        fate = "started" if fate == "start" else fate
        process.oracle.decided(process, fate, arrival, now_ns)
        plan = process.plan
        self.tally.add(fate, plan.transactions[arrival.transaction].name, plan.phases[arrival.phase].name, arrival.k)
        if fate == "started":
            self.landing.append(now_ns + process.world.random.randrange(20 * MS, 400 * MS))


class Crew:
    """The workers of one run of one process."""

    def __init__(self, process: Process, prepare: r.Prepare, emit: Callable[[Any], None]) -> None:
        self.process = process
        self.run_id = prepare.run_id
        self.shard_count = prepare.shard_count
        self.ledger = KeepingLedger(process.plan, prepare.shard_count, schedule=process.schedule)
        self.emit = emit
        self.closed = False
        self.pending: Tally | None = None
        self.heard: set[int] = set()
        self.since_ns = 0
        self.cut_ns: dict[int, int] = {}
        self.lease: tuple[r.Lease, int] | None = None
        self.start_ns: int | None = None
        self.halted = False
        self.ended_fence = -1
        self.assigned: dict[int, int] = {}
        self.done: dict[int, int] = {}
        self.adopting: dict[int, tuple[int, ...]] = {}
        self.prepared: set[int] = set()
        self.workers = {index: Worker(self, index) for index in range(process.workers)}
        self.final: Tally = Tally()

    def offset_ns(self) -> int:
        """Nanoseconds since the run's start, -1 before it is known."""
        return -1 if self.start_ns is None else self.process.clock() - self.start_ns

    # --- orders -------------------------------------------------------------------------------------------------------

    def hold(self, lease: r.Lease, end_ns: int) -> None:
        """Hold exactly the lease's shards."""
        self.lease = (lease, end_ns)
        self.process.oracle.granted(self.process, [grant.shard for grant in lease.shards])
        changed = self.ledger.grant(lease.fence, [(g.shard, g.first_k) for g in lease.shards], sorted(self.workers))
        for index, worker in self.workers.items():
            if index in changed:
                self._assign(worker)
            else:
                worker.renew(end_ns)
        self._adopt_waiting()
        self.check_end()

    def _assign(self, worker: Worker) -> None:
        assert self.lease is not None
        self.assigned[worker.index] = self.ledger.fence
        worker.assign(self.ledger.fence, self.ledger.held_by(worker.index), self.lease[1])

    def extend(self, end_ns: int) -> None:
        """The lease ends later."""
        if self.lease is not None:
            self.lease = (self.lease[0], end_ns)
        for worker in self.workers.values():
            worker.renew(end_ns)
        self._adopt_waiting()

    def begin(self, start_ns: int) -> None:
        """The run's zero."""
        self.start_ns = start_ns
        for worker in self.workers.values():
            worker.begin(start_ns)
        self.check_end()

    def halt(self, at_ns: int, *, immediate: bool) -> None:
        """Start nothing intended from then on."""
        self.halted = True
        self.ledger.halt(at_ns or max(self.offset_ns(), 0))
        for worker in self.workers.values():
            worker.stop(at_ns, immediate=immediate)
        self.check_end()

    # --- what workers do ----------------------------------------------------------------------------------------------

    def measured(self, worker: Worker, tally: Tally) -> None:
        """A worker hands over an interval."""
        if self.workers.get(worker.index) is not worker or self.closed:
            return
        self.ledger.reported(worker.index, tally)  # type: ignore[arg-type]
        self._add(tally)
        self.heard.add(worker.index)
        self.flush_if_due()

    def _add(self, tally: Tally) -> None:
        if self.pending is None:
            self.pending, self.since_ns = tally, self.process.clock()
        else:
            self.pending = merge(self.pending, tally)

    def finished(self, worker: Worker, fence: int, shards: tuple[tuple[int, int, int], ...]) -> None:
        """A worker has nothing left to do."""
        if self.workers.get(worker.index) is worker and fence >= self.assigned.get(worker.index, 0):
            self.done[worker.index] = fence
            self.ledger.finished(worker.index, shards)
            self.check_end()

    def kill(self, index: int, *, replace: bool) -> None:
        """A worker dies with what it had not handed over."""
        worker = self.workers.pop(index, None)
        if worker is None or self.closed:
            return
        worker.alive = False
        begun = self.start_ns is not None and self.offset_ns() >= 0
        vacant = self.ledger.died(index, self._within_lease(self.offset_ns()) if begun else None)
        self.process.oracle.worker_died(self.process)
        if vacant and replace and not self.halted and self.ledger.wanted(self.offset_ns()):
            self.adopting[index] = vacant
            self.process.world.after(400 * MS, lambda: self.process.tell(lambda: self._prepared(index)))
        self.check_end()

    def _prepared(self, index: int) -> None:
        self.prepared.add(index)
        self._adopt(index)

    def _within_lease(self, offset_ns: int) -> int:
        if self.lease is None or self.start_ns is None:
            return offset_ns
        return min(offset_ns, self.lease[1] - self.start_ns)

    def _adopt_waiting(self) -> None:
        for index in list(self.adopting):
            if index in self.prepared:
                self._adopt(index)

    def _adopt(self, index: int) -> None:
        over = self.lease is None or self.process.clock() >= self.lease[1]
        if over or self.halted or self.closed or not self.process.alive:
            return
        shards = self.adopting.pop(index, None)
        if shards is None:
            return
        self.prepared.discard(index)
        worker = self.workers[index] = Worker(self, index)
        begun = self.start_ns is not None and self.offset_ns() + ADOPT_MARGIN_NS > 0
        self.ledger.adopt(index, shards, self.offset_ns() + ADOPT_MARGIN_NS if begun else None)
        self._assign(worker)
        if self.start_ns is not None:
            worker.begin(self.start_ns)

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Hand on what is due."""
        self.flush_if_due()
        self.check_end()

    def flush_if_due(self) -> None:
        """Number an interval when it is complete or old."""
        if self.ended or self.closed:
            return
        now_ns = self.process.clock()
        if self.start_ns is not None and self.lease is not None:
            self._count_missed(self._within_lease(now_ns - self.start_ns))
        expected = {i for i in self.workers if self.done.get(i, 0) < self.assigned.get(i, 0)}
        if self.pending is not None:
            complete = bool(expected) and expected <= self.heard
            if complete or now_ns - self.since_ns >= SNAPSHOT_NS * 3 // 2:
                self._flush()

    def _count_missed(self, until_ns: int) -> None:
        delta = self.ledger.missed(until_ns)
        if delta is None:
            return
        tally = Tally(arrivals=self.ledger.skipped)
        self.ledger.skipped = []
        for (transaction, phase), delivery in delta.delivery.items():
            tally.counts["missed", transaction, phase] += delivery.missed
        self.process.oracle.skipped(self.process, tally)
        self._add(tally)

    def _flush(self) -> None:
        tally, self.pending = self.pending, None
        self.heard.clear()
        if tally is not None:
            self.final = merge(self.final, tally)
            self.process.oracle.numbered(self.process, tally)
            self.emit(e.Measured(self.run_id, tally))

    @property
    def ended(self) -> bool:
        """Whether the end under this fence is reported."""
        return self.ended_fence == self.ledger.fence

    def check_end(self) -> None:
        """Report the end once."""
        if self.ended or self.closed:
            return
        if self.start_ns is None:
            if self.halted:
                self._end()
            return
        if self.ledger.fence == 0 and not self.halted:
            return
        working = (self.adopting and not self.halted) or any(
            self.done.get(i, 0) < self.assigned.get(i, 0) for i in self.workers
        )
        if not working and self.ledger.over(self.offset_ns()):
            self.flush_if_due()
            self._flush()
            self._end()

    def _end(self) -> None:
        self.ended_fence = self.ledger.fence
        totals = self.final.digest().encode()
        self.emit(e.LoadEnded(self.run_id, self.ledger.fence, self.ledger.finals(), totals, self.ledger.lost))
