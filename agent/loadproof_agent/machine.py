"""The agent's side of the protocol as a pure state machine: events in, instructions out, time a parameter.

No I/O, no clock, no randomness: `AgentMachine.handle(event, now_ns)` returns what to do, so the same code runs in the
supervisor and, with the controller's machine, in a seeded simulation. `now_ns` is the agent's monotonic clock.

What it guarantees, whatever is lost, repeated or late on the way:

- Numbers: deltas are numbered from 1, kept until acked, resent byte-identical after every reconnect (`spool`).
- Answers, worker events and Final are said again after a reconnect; the controller knows them by run and number.
- A lease of a lower fencing number than known is ignored. A lease ends `duration_ms` after the heartbeat it answers, so
  one that was delayed can't outlive the controller's fence.
- Without a word from the controller for the orphan grace, the load is stopped (dead-man switch) and not resumed.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from loadproof.metrics import DENSE_VERSION
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.config import NS_PER_MS, Limits
from loadproof_agent.spool import Numbered, SnapshotQueue

P = TypeVar("P")

Link = Literal["down", "greeting", "attached", "left"]
Stage = Literal["preparing", "ready", "running", "halted", "ended"]

RETRIED_REFUSALS = frozenset({"duplicate", "full"})
"""Refusals that pass by themselves once the controller has noticed that the old stream is dead."""


@dataclass(slots=True)
class Reserving:
    """A request of a worker that has no answer yet; `sent_ns` is None while there is no stream."""

    worker: int
    reserve: r.Reserve
    sent_ns: int | None = None


@dataclass(slots=True)
class Run(Generic[P]):
    """What the agent knows of the run it holds."""

    run_id: str
    queue: SnapshotQueue[P]
    heartbeat_ns: int
    stage: Stage = "preparing"
    fence: int = 0
    shards: frozenset[int] = frozenset()
    lease_end_ns: int = 0
    lease_duration_ns: int = 0
    start_at_ns: int | None = None
    orphaned: bool = False
    final: r.Final | None = None
    final_sent: bool = False
    prepared: r.PrepareResult | None = None
    setup: r.SetupResult | None = None
    setup_asked: bool = False
    teardown: r.TeardownResult | None = None
    teardown_asked: bool = False
    troubles: deque[r.WorkerEvent] = field(default_factory=deque)
    trouble_count: int = 0
    progress_ns: int = 0
    reserving: dict[int, Reserving] = field(default_factory=dict)
    reserve_count: int = 0


class AgentMachine(Generic[P]):
    """Decides what an agent does. `P` is a delta, or whatever a simulation counts with.

    `hello` introduces the agent (its `run_id` is filled in); `merge` adds two payloads, `encode` freezes one,
    `encode_dense` for a controller that reads version 2 of deltas, `split` cuts one that is too large (None: it can't).
    """

    def __init__(
        self,
        hello: r.Hello,
        *,
        merge: Callable[[P, P], P],
        encode: Callable[[P], bytes],
        encode_dense: Callable[[P], bytes] | None = None,
        split: Callable[[P], tuple[P, P] | None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.hello = hello
        self.limits = limits or Limits()
        self.link: Link = "down"
        self.run: Run[P] | None = None
        self.heartbeat_ns = 1_000 * NS_PER_MS
        self.orphan_grace_ns = 30_000 * NS_PER_MS
        self._merge = merge
        self._encode, self._encode_dense = encode, encode_dense or encode
        self._split = split
        self._contact_ns: int | None = None
        self._heartbeat_at_ns: int | None = None
        self._welcomed = False
        self._out: list[e.Instruction] = []

    def handle(self, event: e.Event[P], now_ns: int) -> list[e.Instruction]:
        """Take one event at `now_ns`; returns the instructions to carry out, in order."""
        self._out = []
        match event:
            case e.Received(record):
                self._received(record, now_ns)
            case e.Tick(workers, machine_cpu_permille):
                self._tick(workers, machine_cpu_permille, now_ns)
            case e.Measured(run_id, payload):
                self._measured(run_id, payload, now_ns)
            case e.Connected():
                self._connected(now_ns)
            case e.Disconnected():
                if self.link != "left":
                    self.link = "down"
            case e.Answered(result):
                self._answered(result)
            case e.LoadEnded():
                self._load_ended(event, now_ns)
            case e.WorkerTrouble():
                self._worker_trouble(event)
            case e.DrawsWanted(run_id, worker, draws):
                self._draws_wanted(run_id, worker, draws, now_ns)
            case e.Logged(run_id, lines):
                if self._held(run_id) is not None and self.link == "attached":
                    self._send(r.LogBatch(run_id, lines))
        return self._out

    # --- the stream ---------------------------------------------------------------------------------------------------

    def _connected(self, now_ns: int) -> None:
        self.link = "greeting"
        if self._contact_ns is None:
            self._contact_ns = now_ns
        self._send(dataclasses.replace(self.hello, run_id=self.run.run_id if self.run else ""))

    def _received(self, record: r.FromController, now_ns: int) -> None:
        if self.link == "greeting":
            self._greeted(record, now_ns)
            return
        if self.link != "attached":
            return
        self._contact_ns = now_ns
        match record:
            case r.SnapshotAck():
                self._ack(record, now_ns)
            case r.Lease():
                self._lease(record, now_ns)
            case r.Ping(number, sent_ns):
                self._send(r.Pong(number, sent_ns, now_ns, now_ns))
            case r.Prepare():
                self._prepare(record)
            case r.Setup(run_id):
                self._setup(run_id)
            case r.Start():
                self._start(record)
            case r.Stop():
                self._stop(record)
            case r.Teardown():
                self._teardown(record)
            case r.End(run_id):
                self._end(run_id)
            case r.Refusal(code, text):
                self._leave(code, text)
            case r.Reserved(run_id, number):
                self._reserved(run_id, number)
            case r.Welcome():
                pass  # a second Welcome says nothing new

    def _greeted(self, record: r.FromController, now_ns: int) -> None:
        if isinstance(record, r.Refusal):
            if self._welcomed and record.code in RETRIED_REFUSALS:
                self.link = "down"
                self._out.append(e.DropStream(record.text))
            else:
                self._leave(record.code, record.text)
            return
        if not isinstance(record, r.Welcome):
            return
        if not self.hello.protocol_min <= record.protocol <= self.hello.protocol_max:
            self._leave("version", f"the controller speaks protocol {record.protocol}")
            return
        self.link = "attached"
        self._welcomed = True
        self._contact_ns = now_ns
        self._heartbeat_at_ns = None
        self.heartbeat_ns = max(record.heartbeat_ms, 1) * NS_PER_MS
        self.orphan_grace_ns = max(record.orphan_grace_ms, 1) * NS_PER_MS
        if self.run is not None:
            self._say_again(self.run, now_ns)

    def _leave(self, code: str, text: str) -> None:
        self.link = "left"
        hello = self.hello
        spoken = f"{hello.protocol_min}" + (
            f"-{hello.protocol_max}" if hello.protocol_max != hello.protocol_min else ""
        )
        own = f"this agent is version {hello.version} with protocol {spoken} and layout {hello.layout_id}"
        self._out.append(e.Leave(code, f"{text}; {own}" if code in {"version", "layout"} else text))

    def _say_again(self, run: Run[P], now_ns: int) -> None:
        """After a reconnect nothing that was not acked is known to have arrived."""
        for answer in (run.prepared, run.setup, run.teardown):
            if answer is not None:
                self._send(answer)
        for trouble in run.troubles:
            self._send(trouble)
        for block in run.queue.in_flight:
            self._send(self._block(run, block))
        for wanted in run.reserving.values():
            self._send_reserve(wanted, now_ns)
        run.progress_ns = now_ns
        run.final_sent = False
        self._pump(run)

    # --- the run ------------------------------------------------------------------------------------------------------

    def _held(self, run_id: str) -> Run[P] | None:
        return self.run if self.run is not None and self.run.run_id == run_id else None

    def _prepare(self, prepare: r.Prepare) -> None:
        run = self._held(prepare.run_id)
        if run is not None:
            if run.prepared is not None:
                self._send(run.prepared)
            return
        if self.run is not None:
            self._end(self.run.run_id)
        queue: SnapshotQueue[P] = SnapshotQueue(
            merge=self._merge,
            encode=self._encode_dense if prepare.delta_version >= DENSE_VERSION else self._encode,
            unsent_max=self.limits.snapshots_unsent_max,
            in_flight_max=self.limits.snapshots_in_flight_max,
            split=self._split,
            bytes_max=self.limits.snapshot_bytes_max,
        )
        self.run = Run(prepare.run_id, queue, prepare.heartbeat_ms * NS_PER_MS or self.heartbeat_ns)
        self._out.append(e.PrepareRun(prepare))

    def _setup(self, run_id: str) -> None:
        run = self._held(run_id)
        if run is None:
            return
        if run.setup is not None:
            self._send(run.setup)
        elif not run.setup_asked:
            run.setup_asked = True
            self._out.append(e.RunSetup())

    def _teardown(self, teardown: r.Teardown) -> None:
        run = self._held(teardown.run_id)
        if run is None:
            return
        if run.teardown is not None:
            self._send(run.teardown)
        elif not run.teardown_asked:
            run.teardown_asked = True
            self._out.append(e.RunTeardown(teardown.shared))

    def _lease(self, lease: r.Lease, now_ns: int) -> None:
        run = self._held(lease.run_id)
        if run is None or lease.fence < run.fence or run.orphaned:
            return
        granted_ns = min(lease.echo_ns, now_ns) if lease.echo_ns else now_ns
        run.lease_duration_ns = lease.duration_ms * NS_PER_MS
        end_ns = granted_ns + run.lease_duration_ns
        shards = frozenset(grant.shard for grant in lease.shards)
        if lease.fence == run.fence and shards == run.shards:
            if end_ns > run.lease_end_ns:
                run.lease_end_ns = end_ns
                self._out.append(e.ExtendLease(end_ns))
            return
        if shards - run.shards and run.stage == "ended":
            run.stage = "running"  # shards of another agent came: there is more to report
            run.final = None
        run.fence, run.shards, run.lease_end_ns = lease.fence, shards, end_ns
        self._out.append(e.HoldShards(lease, end_ns))

    def _start(self, start: r.Start) -> None:
        run = self._held(start.run_id)
        if run is None or run.stage not in {"preparing", "ready"} or run.start_at_ns is not None:
            return
        run.stage = "running"
        run.start_at_ns = start.start_at_ns
        self._out.append(e.BeginLoad(start.start_at_ns, start.shared))

    def _stop(self, stop: r.Stop) -> None:
        run = self._held(stop.run_id)
        if run is None or run.stage == "ended":
            return
        run.stage = "halted"
        self._out.append(e.HaltLoad(stop.at_offset_ns, stop.immediate, stop.reason))

    def _end(self, run_id: str) -> None:
        if self._held(run_id) is not None:
            self.run = None
            self._out.append(e.ForgetRun(run_id))

    def _answered(self, result: r.PrepareResult | r.SetupResult | r.TeardownResult) -> None:
        run = self._held(result.run_id)
        if run is None:
            return
        match result:
            case r.PrepareResult():
                run.prepared = result
                if run.stage == "preparing":
                    run.stage = "ready"
            case r.SetupResult():
                run.setup = result
            case r.TeardownResult():
                run.teardown = result
        if self.link == "attached":
            self._send(result)

    def _worker_trouble(self, event: e.WorkerTrouble) -> None:
        run = self._held(event.run_id)
        if run is None:
            return
        run.trouble_count += 1
        record = r.WorkerEvent(
            run_id=event.run_id,
            worker=event.worker,
            kind=event.kind,
            text=event.text,
            transaction=event.transaction,
            step=event.step,
            at_offset_ns=max(event.at_offset_ns, 0),
            number=run.trouble_count,
        )
        run.troubles.append(record)
        while len(run.troubles) > self.limits.worker_events_max:
            run.troubles.popleft()
        if self.link == "attached":
            self._send(record)

    # --- reservations -------------------------------------------------------------------------------------------------

    def _draws_wanted(self, run_id: str, worker: int, draws: tuple[r.UserDraws, ...], now_ns: int) -> None:
        run = self._held(run_id)
        if run is None:
            return
        run.reserve_count += 1
        wanted = run.reserving[run.reserve_count] = Reserving(worker, r.Reserve(run_id, run.reserve_count, draws))
        self._send_reserve(wanted, now_ns)

    def _send_reserve(self, wanted: Reserving, now_ns: int) -> None:
        wanted.sent_ns = now_ns if self.link == "attached" else None
        if self.link == "attached":
            self._send(wanted.reserve)

    def _reserved(self, run_id: str, number: int) -> None:
        run = self._held(run_id)
        wanted = run.reserving.pop(number, None) if run is not None else None
        if wanted is not None:
            self._out.append(e.DrawsReserved(wanted.worker, wanted.reserve.draws))

    # --- numbers ------------------------------------------------------------------------------------------------------

    def _measured(self, run_id: str, payload: P, now_ns: int) -> None:
        run = self._held(run_id)
        if run is None:
            return
        if run.queue.unacked == 0:
            run.progress_ns = now_ns
        run.queue.push(payload)
        self._pump(run)

    def _ack(self, ack: r.SnapshotAck, now_ns: int) -> None:
        run = self._held(ack.run_id)
        if run is None or ack.epoch != self.hello.epoch or ack.agent_id != self.hello.agent_id:
            return
        if run.queue.ack(ack.seq):
            run.progress_ns = now_ns
        self._pump(run)

    def _load_ended(self, event: e.LoadEnded, now_ns: int) -> None:
        run = self._held(event.run_id)
        if run is None or event.fence != run.fence:
            return  # a newer lease came meanwhile: its end is still to be reported
        run.stage = "ended"
        run.progress_ns = now_ns
        run.final_sent = False
        run.final = r.Final(event.run_id, self.hello.epoch, run.queue.last_seq, event.shards, event.totals, event.lost)
        self._pump(run)

    def _pump(self, run: Run[P]) -> None:
        """Send what may be sent now; Final once everything before it is durable."""
        if self.link != "attached":
            return
        for block in run.queue.take():
            self._send(self._block(run, block))
        if run.final is not None and not run.final_sent and run.queue.unacked == 0:
            run.final_sent = True
            self._send(self._final(run, run.final))

    def _final(self, run: Run[P], final: r.Final) -> r.Final:
        """Return Final with the number that is the last one now: a block that was cut took one more."""
        return dataclasses.replace(final, last_seq=run.queue.last_seq)

    def _block(self, run: Run[P], block: Numbered[bytes]) -> r.SnapshotBlock:
        origin = r.SnapshotRange(self.hello.agent_id, self.hello.epoch, block.from_seq, block.to_seq)
        return r.SnapshotBlock(run.run_id, (origin,), block.payload)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _tick(self, workers: tuple[r.WorkerReading, ...], machine_cpu_permille: int, now_ns: int) -> None:
        run = self.run
        if run is not None:
            self._watch_contact(run, now_ns)
        if self.link != "attached":
            return
        every_ns = run.heartbeat_ns if run is not None else self.heartbeat_ns
        if self._heartbeat_at_ns is None or now_ns - self._heartbeat_at_ns >= every_ns:
            self._heartbeat_at_ns = now_ns
            run_id, unacked = (run.run_id, run.queue.unacked) if run is not None else ("", 0)
            self._send(r.Heartbeat(run_id, now_ns, workers, unacked, machine_cpu_permille))
        if run is not None and now_ns - run.progress_ns >= self.limits.resend_ns:
            self._resend(run, now_ns)
        for wanted in run.reserving.values() if run is not None else ():
            if wanted.sent_ns is None or now_ns - wanted.sent_ns >= self.limits.resend_ns:
                self._send_reserve(wanted, now_ns)

    def _resend(self, run: Run[P], now_ns: int) -> None:
        """Repeat what has had no answer for long: unacked blocks, and Final until the controller ends the run."""
        if run.queue.in_flight:
            run.progress_ns = now_ns
            for block in run.queue.in_flight:
                self._send(self._block(run, block))
        elif run.final is not None and run.final_sent:
            run.progress_ns = now_ns
            self._send(self._final(run, run.final))

    def _watch_contact(self, run: Run[P], now_ns: int) -> None:
        silent_ns = now_ns - (self._contact_ns if self._contact_ns is not None else now_ns)
        loaded = run.stage in {"running", "halted"} and run.start_at_ns is not None
        if loaded and not run.orphaned and silent_ns >= self.orphan_grace_ns:
            run.orphaned = True
            run.stage = "halted"
            reason = f"no word from the controller for {silent_ns // NS_PER_MS} ms"
            self._out.append(e.HaltLoad(0, immediate=True, reason=reason))
        if loaded and self.link == "attached" and silent_ns >= self.limits.contact_ns:
            self.link = "down"
            self._out.append(e.DropStream("the controller says nothing"))

    def _send(self, record: r.FromAgent) -> None:
        self._out.append(e.Send(record))
