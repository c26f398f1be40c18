"""The workers of one run: started, given their shards, watched, replaced, and added up.

`Crew` turns instructions of the state machine into messages to workers, and what workers say into events. It decides
nothing about the protocol with the controller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from loadproof.metrics import CodecError, decode_delta
from loadproof.metrics.delta import Delta
from loadproof.plan import Plan, plan_from_dict
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.blame import place_of
from loadproof_agent.config import NS_PER_MS, NS_PER_S, AgentConfig
from loadproof_agent.continuing import Continuations
from loadproof_agent.hooks import Hooks
from loadproof_agent.intervals import Intervals
from loadproof_agent.ledger import ShardLedger
from loadproof_agent.lines import Lines
from loadproof_agent.pipe import messages as m
from loadproof_agent.watch import sick
from loadproof_agent.worker_process import Departure, WorkerProcess

ADOPT_MARGIN_NS = 50 * NS_PER_MS
"""A replacement's first arrival lies at least this far ahead, so that none is late because of the hand-over."""

RESERVED_TOGETHER = 5_000
"""Users whose reservations go in one message."""


@dataclass(slots=True)
class Slot:
    """One place for a worker. `assigned` and `finished` are fences: equal means that it has nothing left to report."""

    worker: WorkerProcess
    ready: bool = False
    gone: bool = False
    assigned: int = 0
    finished: int = 0
    adopting: tuple[int, ...] = ()


class Crew:
    """The workers of one run.

    `run(suite, packages)` starts them and returns after `close()`, when every process is gone and reaped; cancelling it
    asks them to leave, kills what has not gone within the limit, and raises. `emit` gets the events, in order, from the
    loop.
    """

    def __init__(self, prepare: r.Prepare, *, config: AgentConfig, emit: Callable[[e.Event[Delta]], None]) -> None:
        self.run_id = prepare.run_id
        self.machine_cpu_permille = 0
        self._prepare = prepare
        self._config = config
        self._limits = config.limits
        self._emit = emit
        self._plan_data: dict[str, Any] = {}
        self._spec_data: dict[str, Any] = {}
        self._plan: Plan | None = None
        self._ledger: ShardLedger | None = None
        self._continuing = Continuations(0, prepare.shard_count)
        self._intervals = Intervals(prepare.snapshot_ms * NS_PER_MS)
        self._lines = Lines(config.limits, tuple(prepare.secrets.values()))
        self._slots: dict[int, Slot] = {}
        self._group: asyncio.TaskGroup | None = None
        self._closed = asyncio.Event()
        self._suite = ""
        self._packages = ""
        self._problems: list[r.Problem] = []
        self._answered = False
        self._hooks = Hooks(prepare.run_id, config.limits.hook_ns, emit)
        self._lease: tuple[r.Lease, int] | None = None
        self._start: m.Start | None = None
        self._halted = False
        self._kill_at_ns: int | None = None
        self._ended_fence = -1
        self._replaced = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, suite: Path, packages: Path | None = None) -> None:
        """Start the workers on the unpacked suite and the folder with its packages, if it has any; see the class."""
        try:
            self._plan_data = orjson.loads(self._prepare.plan)
            self._spec_data = orjson.loads(self._prepare.spec)
            self._plan = plan_from_dict(self._plan_data)
            self._ledger = ShardLedger(self._plan, self._prepare.shard_count)
            self._continuing = Continuations(len(self._plan.datasets), self._prepare.shard_count)
        except (KeyError, TypeError, ValueError) as error:
            self._problems.append(r.Problem("plan", f"the plan or spec can't be read ({error!r}); use equal versions"))
            self._answer()
            return
        if self._closed.is_set():
            return
        self._suite = str(suite)
        self._packages = str(packages or "")
        async with asyncio.TaskGroup() as group:
            self._group = group
            for index in range(self._config.workers):
                self._slots[index] = Slot(self._start_worker(index))
            await self._closed.wait()
            for slot in self._slots.values():
                slot.worker.leave()

    @property
    def closed(self) -> bool:
        """Whether the run is over."""
        return self._closed.is_set()

    def close(self) -> None:
        """The run is over: workers leave."""
        self._closed.set()

    def _start_worker(self, index: int) -> WorkerProcess:
        worker = WorkerProcess(
            index,
            on_message=self._heard,
            on_line=self._lines.add,
            command=self._config.worker_command,
            exit_s=self._limits.exit_ns / NS_PER_S,
        )
        worker.send(
            m.Prepare(
                run_id=self.run_id,
                agent_id=self._config.agent_id,
                bundle_dir=self._suite,
                packages_dir=self._packages,
                plan=self._plan_data,
                spec=self._spec_data,
                shard_count=self._prepare.shard_count,
                snapshot_ns=self._prepare.snapshot_ms * NS_PER_MS,
                secrets=dict(self._prepare.secrets),
            )
        )
        assert self._group is not None
        self._group.create_task(self._live(worker), name=f"worker {index} of {self.run_id}")
        return worker

    async def _live(self, worker: WorkerProcess) -> None:
        try:
            departure = await worker.run()
        except OSError as error:
            departure = Departure("exited", f"it could not be started: {error}")
        if not self._closed.is_set():
            self._gone(worker, departure)

    # --- instructions -------------------------------------------------------------------------------------------------

    def hold(self, lease: r.Lease, lease_end_ns: int) -> None:
        """Hold exactly the lease's shards; waits until the workers are prepared."""
        self._lease = (lease, lease_end_ns)
        if not self._answered or self._ledger is None:
            return
        for grant in lease.shards:
            self._continuing.granted(grant.draws)
        grants = [(grant.shard, grant.first_k) for grant in lease.shards]
        changed = self._ledger.grant(lease.fence, grants, [index for index, slot in self._slots.items() if slot.ready])
        for index, slot in self._slots.items():
            if index in changed:
                self._assign(index, slot)
            elif slot.ready:
                slot.worker.send(m.Renew(lease_end_ns))
        self._adopt_waiting()
        self._check_end()

    def extend(self, lease_end_ns: int) -> None:
        """The lease now ends later."""
        if self._lease is not None:
            self._lease = (self._lease[0], lease_end_ns)
        self._tell(m.Renew(lease_end_ns))
        self._adopt_waiting()

    def _adopt_waiting(self) -> None:
        for slot in self._slots.values():
            if slot.ready and slot.adopting:
                self._adopt(slot)

    def _within_lease(self, offset_ns: int) -> int:
        """Return the offset, at most the lease's end: what is due beyond it may be another agent's."""
        if self._lease is None or self._start is None:
            return offset_ns
        return min(offset_ns, self._lease[1] - self._start.start_at_ns)

    def begin(self, start_at_ns: int, shared: bytes) -> None:
        """The run's zero is `start_at_ns`."""
        self._start = m.Start(start_at_ns, shared)
        self._tell(self._start)
        self._check_end()

    def halt(self, at_offset_ns: int, *, immediate: bool) -> None:
        """Start nothing intended at or after the offset (0 = now)."""
        if self._ledger is None:
            return
        self._halted = True
        at_ns = at_offset_ns or max(self._offset_ns(), 0)
        self._ledger.halt(at_ns)
        if self._start is not None:
            self._tell(m.Stop(at_offset_ns, immediate))
        if immediate:
            self._kill_at_ns = time.monotonic_ns() + self._limits.drain_ns
        self._check_end()

    def set_up(self) -> None:
        """Run the set-up hook in the first worker that is ready."""
        self._hooks.ask(m.Setup(), self._first_ready(), time.monotonic_ns())

    def tear_down(self, shared: bytes) -> None:
        """Run the teardown hook in the first worker that is ready."""
        self._hooks.ask(m.Teardown(shared), self._first_ready(), time.monotonic_ns())

    def _first_ready(self) -> WorkerProcess | None:
        return next((slot.worker for slot in self._slots.values() if slot.ready), None)

    def _tell(self, message: m.ToWorker) -> None:
        for slot in self._slots.values():
            if slot.ready:
                slot.worker.send(message)

    def _assign(self, index: int, slot: Slot) -> None:
        assert self._ledger is not None
        assert self._plan is not None
        assert self._lease is not None
        held = self._ledger.held_by(index)
        in_flight_max = max(1, self._plan.max_in_flight * len(held) // self._prepare.shard_count)
        slot.assigned = self._ledger.fence
        continued = self._continuing.of(shard for shard, _ in held) if self._plan.once_only else ()
        slot.worker.send(m.Assign(self._ledger.fence, held, self._lease[1], in_flight_max, continued))

    # --- what workers say ---------------------------------------------------------------------------------------------

    def _heard(self, worker: WorkerProcess, message: m.FromWorker) -> None:
        slot = self._slots.get(worker.index)
        if slot is None or slot.worker is not worker:
            return
        match message:
            case m.Snapshot(delta):
                self._snapshot(slot, delta)
            case m.Prepared(problems):
                self._prepared(slot, problems)
            case m.Finished(fence, shards):
                if self._ledger is not None and fence >= slot.assigned:
                    slot.finished = fence
                    self._ledger.finished(worker.index, shards)
                    self._check_end()
            case m.Reserve(points):
                self._reserve(worker.index, points)
            case m.SetupDone() | m.TeardownDone():
                self._hooks.answered(message, worker.index)
            case m.Log(level, text):
                self._lines.add(f"{level}: {text}")
            case _:
                pass  # a beat is noted by the process itself

    def _reserve(self, index: int, points: tuple[tuple[int, int], ...]) -> None:
        for first in range(0, len(points), RESERVED_TOGETHER):
            draws = self._continuing.asked(points[first : first + RESERVED_TOGETHER])
            self._emit(e.DrawsWanted(self.run_id, index, draws))

    def reserved(self, worker: int, draws: tuple[r.UserDraws, ...]) -> None:
        """What a worker wanted is on record; one that replaced it goes on behind that and does not mind."""
        slot = self._slots.get(worker)
        if slot is not None and slot.ready:
            slot.worker.send(m.Reserved(self._continuing.points(draws)))

    def _snapshot(self, slot: Slot, encoded: bytes) -> None:
        index = slot.worker.index
        try:
            delta = decode_delta(encoded)
        except CodecError as error:
            slot.worker.kill("crashed", f"it sent numbers that can't be read ({error}) and was killed")
            return
        now_ns = time.monotonic_ns()
        if self._ledger is not None:
            self._ledger.reported(index, delta)
        self._intervals.add(delta, now_ns, index)
        self._flush_if_due(now_ns)

    def _prepared(self, slot: Slot, problems: tuple[m.Problem, ...]) -> None:
        if self._answered:
            self._replacement_prepared(slot, problems)
            return
        slot.ready = not problems
        slot.worker.prepared = True
        for problem in problems:
            record = r.Problem(problem.code, self._lines.clean(problem.text), self._lines.redact(problem.detail))
            if record not in self._problems:
                self._problems.append(record)
        if all(slot.worker.prepared or slot.gone for slot in self._slots.values()):
            self._answer()

    def _answer(self) -> None:
        if self._answered:
            return
        self._answered = True
        self._emit(e.Answered(r.PrepareResult(self.run_id, tuple(self._problems))))
        if self._lease is not None and not self._problems:
            self.hold(*self._lease)

    # --- death and replacement ----------------------------------------------------------------------------------------

    def _gone(self, worker: WorkerProcess, departure: Departure) -> None:
        slot = self._slots[worker.index]
        if slot.worker is not worker:
            return
        slot.gone, slot.ready = True, False
        place = place_of(Path(self._suite), departure.stack)
        where = f" in {place.file}, line {place.line}" if place is not None else ""
        text = self._lines.clean(f"worker {worker.index} (pid {worker.pid}): {departure.text}{where}")
        transaction = departure.transaction or (place.transaction if place is not None else "")
        step = departure.step or (place.step if place is not None else "")
        offset_ns = self._offset_ns()
        self._trouble(worker.index, departure.kind, text, transaction, step)
        self._hooks.worker_gone(worker.index, text)
        if not self._answered:
            self._problems.append(r.Problem("worker", text))
            if all(other.worker.prepared or other.gone for other in self._slots.values()):
                self._answer()
            return
        if self._ledger is None:
            return
        begun = self._start is not None and offset_ns >= 0
        at_ns = self._within_lease(offset_ns) if begun else None
        held = [shard for shard, _ in self._ledger.held_by(worker.index)]
        used = self._continuing.died(held) if self._plan is not None and self._plan.once_only else None
        vacant = slot.adopting + self._ledger.died(worker.index, at_ns, reserved=used)
        slot.adopting = ()
        if vacant and self._ledger.wanted(offset_ns) and self._may_replace():
            self._replace(worker.index, vacant)
        self._check_end()

    def _may_replace(self) -> bool:
        return not self._halted and self._replaced < self._limits.replacements_max

    def _replace(self, index: int, shards: tuple[int, ...]) -> None:
        self._replaced += 1
        self._slots[index] = Slot(self._start_worker(index), adopting=shards)

    def _replacement_prepared(self, slot: Slot, problems: tuple[m.Problem, ...]) -> None:
        if problems:
            slot.worker.kill("exited", f"its replacement could not be prepared: {problems[0].text}")
            return
        slot.ready, slot.worker.prepared = True, True
        self._adopt(slot)

    def _adopt(self, slot: Slot) -> None:
        """Give a replacement its shards; while the lease is over they may be another agent's, so it waits."""
        if self._ledger is None or self._lease is None or self._halted or time.monotonic_ns() >= self._lease[1]:
            return
        index, shards, slot.adopting = slot.worker.index, slot.adopting, ()
        begun = self._start is not None and self._offset_ns() + ADOPT_MARGIN_NS > 0
        self._ledger.adopt(index, shards, self._offset_ns() + ADOPT_MARGIN_NS if begun else None)
        self._assign(index, slot)
        if self._start is not None:
            slot.worker.send(self._start)
        self._trouble(index, "replaced", f"worker {index} was replaced (pid {slot.worker.pid})", "", "")

    def _trouble(self, worker: int, kind: str, text: str, transaction: str, step: str) -> None:
        offset_ns = max(self._offset_ns(), 0)
        self._emit(e.WorkerTrouble(self.run_id, worker, kind, text, transaction, step, offset_ns))

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int, *, paused: bool = False) -> None:
        """Watch the workers, hand on what is due. `paused`: this process itself stood still, silence proves nothing."""
        for slot in self._slots.values():
            if slot.gone:
                continue
            if paused:
                slot.worker.heard_ns = now_ns
            verdict = self._sick(slot, now_ns)
            if verdict is not None:
                slot.worker.kill(*verdict)
        self._flush_if_due(now_ns)
        lines = self._lines.take()
        if lines:
            self._emit(e.Logged(self.run_id, lines))
        self._check_end()

    def _sick(self, slot: Slot, now_ns: int) -> tuple[Any, str] | None:
        ends = [] if self._kill_at_ns is None else [self._kill_at_ns]
        if self._start is not None and self._plan is not None and self._ledger is not None and slot.assigned:
            end_ns = self._ledger.end_ns
            if end_ns is not None and slot.finished < slot.assigned:
                grace_ns = self._plan.graceful_stop_ns + self._limits.drain_ns
                ends.append(self._start.start_at_ns + end_ns + grace_ns)
        return sick(
            slot.worker,
            now_ns,
            limits=self._limits,
            prepare_by_ns=None if slot.worker.prepared else slot.worker.born_ns + self._limits.prepare_ns,
            hook_by_ns=self._hooks.deadline_ns(slot.worker.index),
            finish_by_ns=min(ends) if ends and slot.finished < slot.assigned else None,
            workers=self._config.workers,
        )

    def readings(self, now_ns: int) -> tuple[r.WorkerReading, ...]:
        """Return how each worker is."""
        return tuple(slot.worker.reading(now_ns) for slot in self._slots.values() if not slot.gone)

    def _offset_ns(self) -> int:
        """Nanoseconds since the run's start; -1 before it is known."""
        return -1 if self._start is None else time.monotonic_ns() - self._start.start_at_ns

    def _flush_if_due(self, now_ns: int) -> None:
        if self._ended:
            return
        if self._start is not None and self._ledger is not None and self._lease is not None:
            missed = self._ledger.missed(self._within_lease(now_ns - self._start.start_at_ns))
            if missed is not None:
                self._intervals.add(missed, now_ns)
        expected = {index for index, slot in self._slots.items() if slot.ready and slot.finished < slot.assigned}
        if self._intervals.due(expected, now_ns):
            self._flush()

    def _flush(self) -> None:
        delta = self._intervals.take(self.machine_cpu_permille)
        if delta is not None:
            self._emit(e.Measured(self.run_id, delta))

    @property
    def _ended(self) -> bool:
        return self._ledger is not None and self._ended_fence == self._ledger.fence

    def _check_end(self) -> None:
        """Report the end once: every worker has finished its newest assignment, and no vacant shard has a future."""
        if self._ledger is None or self._ended or not self._answered:
            return
        if self._start is None:
            if self._halted:
                self._end()
            return
        if self._ledger.fence == 0 and not self._halted:
            return
        working = any(
            slot.finished < slot.assigned or (slot.adopting and not self._halted)
            for slot in self._slots.values()
            if not slot.gone
        )
        if not working and self._ledger.over(self._offset_ns()):
            self._flush_if_due(time.monotonic_ns())
            self._flush()
            self._end()

    def _end(self) -> None:
        assert self._ledger is not None
        self._ended_fence = self._ledger.fence
        totals = self._intervals.encoded_totals()
        self._emit(e.LoadEnded(self.run_id, self._ledger.fence, self._ledger.finals(), totals, self._ledger.lost))
