"""Drives one run's machine: turns what agents say into events, carries instructions out, keeps time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import orjson

from loadproof.metrics import Block, CodecError, MergedState, RunningTotals, attribute, decode_totals
from loadproof.plan import ArrivalSchedule, UserSchedule
from loadproof_controller import messages as m
from loadproof_controller.checkpointing import Checkpoints
from loadproof_controller.configuring import machine_config, paced, prepare_of
from loadproof_controller.errors import HostileData, RunLogError, RunRefused
from loadproof_controller.fleet import AgentLink, Fleet, matches
from loadproof_controller.hostile import DeltaCheck
from loadproof_controller.intake import Merging, Reader
from loadproof_controller.ledger import AgentBook, EventBook, Noted
from loadproof_controller.machine import OVER, RunMachine
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.sequence import SequenceBook
from loadproof_controller.outcome import Facts, run_data
from loadproof_controller.progress import PlannedSoFar, transactions_progress
from loadproof_controller.relays.blocks import BadBlock, read_block
from loadproof_controller.relays.links import RelayLink
from loadproof_controller.relays.messages import ChildBeat, RelayBlock
from loadproof_controller.request import Progress, RunRequest
from loadproof_controller.resuming import Past, save
from loadproof_controller.ruling import RuleWatch
from loadproof_controller.runlog import LOG_NAME, LOG_VERSION, RunLog
from loadproof_report.rundata import RunData

TICK_S = 0.1
NS_PER_S = 1_000_000_000
LOGGER = logging.getLogger(__name__)


class Runner:
    """One run. `run()` returns when it is over; constructing starts nothing."""

    def __init__(
        self,
        request: RunRequest,
        fleet: Fleet,
        *,
        unix: bool,
        tool_version: str = "",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if request.agents_wanted < 1:
            raise RunRefused(f"a run needs at least one agent, {request.agents_wanted} are wanted")
        self.request = request
        self._fleet, self._clock, self._tool_version = fleet, clock, tool_version
        self.machine = RunMachine(machine_config(request, fleet.orphan_grace_s, unix=unix), clock())
        self.events = EventBook()
        self.books: dict[tuple[str, int], AgentBook] = {}
        self.links: dict[str, AgentLink] = {}
        self.began_ns = clock()
        self._started_at = datetime.now(UTC)
        users = UserSchedule(request.plan).peak if request.plan.model == "closed" else 0
        self._check = DeltaCheck(request.plan, users)
        self._rules = RuleWatch(request.rules, request.plan)
        self._planned = PlannedSoFar({})
        self._prepare = prepare_of(request)
        self._unix = unix
        self._past: Past | None = None
        self._log: RunLog | None = None
        self._log_broken = False
        self._reader = Reader()
        self._merging = Merging(Checkpoints(request.folder, clock), lambda error: self._crashed(error, "merging"))
        self._ended = asyncio.Event()
        self._crash: Exception | None = None
        self._report_progress = request.on_progress

    # --- the run ------------------------------------------------------------------------------------------------------

    async def run(self) -> RunData:
        """Run to the end and return what there is to report, whatever happened.

        Raises `RunLogError` when the log cannot be created. When cancelled, agents are told to stop at once and the
        cancellation goes on; teardown is then only ordered, not awaited.
        """
        with self._open_log() as log:
            self._log = log
            if self._past is None:
                self._append("run", LOG_VERSION, self.request.run_id, self._prepare.plan)
                began_at = self._started_at.isoformat()
                saved = save(self.request, unix=self._unix, began_ns=self.began_ns, began_at=began_at)
                self._append("request", saved)
            else:
                self._note("controller_restarted", "the controller was restarted; the run goes on from its log")
            if self.request.plan.model == "open":
                schedule = ArrivalSchedule(self.request.plan)  # 0.3 s for ten million arrivals: not on the loop
                self._planned = PlannedSoFar(await asyncio.to_thread(schedule.planned_seconds))
            for link in self._fleet:
                if link.ready and self.links.get(link.agent_id) is not link:  # else it came while we counted
                    self.attached(link)
            try:
                await self._until_ended(log)
            except asyncio.CancelledError:
                self.stop("person", "the controller was told to leave at once", immediate=True)
                raise
            self._log = None
        return self._result()

    def _open_log(self) -> RunLog:
        path = self.request.folder / LOG_NAME
        if self._past is None:
            return RunLog(path)
        replayed = self._past.replayed
        number = replayed.checkpoint.number if replayed.checkpoint is not None else 0
        return RunLog(path, resume=True, facts=replayed.facts, checkpoint=number)

    @classmethod
    def resumed(
        cls, past: Past, fleet: Fleet, *, tool_version: str = "", clock: Callable[[], int] = time.monotonic_ns
    ) -> Runner:
        """Return the runner of a run whose controller was killed: `run()` takes it to its end.

        Agents that come back with the run go on; where none does, or the machine was started anew, the run ends with
        what was logged.
        """
        runner = cls(past.request, fleet, unix=past.saved.unix, tool_version=tool_version, clock=clock)
        replayed = past.replayed
        runner._past = past
        runner._merging.total, runner.books = replayed.merged, replayed.books
        runner._merging.checkpoints = Checkpoints(past.request.folder, clock, previous=replayed.checkpoint)
        for name, number in replayed.facts.worker_events.items():
            runner.books.setdefault(name, AgentBook()).worker_events_seen = number
        runner.began_ns = past.saved.began_ns
        runner._started_at = datetime.fromisoformat(past.saved.began_at)
        for at_ns, kind, text, agent_id in replayed.events:
            runner.events.note(Noted(at_ns, kind, text, agent_id))
        if replayed.run_state:
            runner.machine = RunMachine.recalled(
                runner.machine.config,
                clock(),
                SequenceBook(replayed.seqs),
                replayed.run_state,
                replayed.members.values(),
                replayed.draws.values(),
            )
        if runner.machine.phase in OVER:
            runner._ended.set()
        elif not past.same_boot:
            runner.machine.outcome = do.EndRun("failed", "infrastructure", "the controller's machine was started anew")
            runner._ended.set()
        return runner

    async def _until_ended(self, log: RunLog) -> None:
        next_second = self._clock()
        async with asyncio.TaskGroup() as group:
            while not self._ended.is_set():
                self._handle(ev.Tick())
                if self._clock() >= next_second:
                    next_second = max(next_second + NS_PER_S, self._clock() + NS_PER_S // 2)
                    await self._each_second(log)
                    if self._merging.checkpoints.due and not self._log_broken:
                        group.create_task(self._checkpoint(log))
                try:
                    async with asyncio.timeout(TICK_S):
                        await self._ended.wait()
                except TimeoutError:
                    continue
        await self._each_second(log)

    async def _checkpoint(self, log: RunLog) -> None:
        """Write a checkpoint. Where that fails the log only grows."""
        try:
            self._merging.settle()
            await self._merging.checkpoints.take(log, self._merging.total, self.books)
        except Exception as error:  # whatever is wrong with it, the run does not need it
            LOGGER.exception("a checkpoint could not be written")
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._note("checkpoint_failed", f"the log goes on without a checkpoint and grows: {why}")

    async def _each_second(self, log: RunLog) -> None:
        self._merging.settle()
        try:
            await asyncio.to_thread(log.sync)
        except OSError as error:
            self._log_failed(f"the run's log cannot be brought to the disk: {error.strerror}")
        elapsed = self._elapsed_ns()
        if elapsed is not None and self.machine.phase in {"running", "draining"}:
            broken = self._rules.look(self.merged, elapsed, self._clock())
            if broken is not None:
                self.stop("rule", broken, immediate=False)
        if self._report_progress is not None:
            try:
                await self._report_progress(self.progress())
            except Exception as error:
                LOGGER.exception("reporting progress failed")
                self._report_progress = None
                self._note("progress_failed", f"progress is no longer reported: {type(error).__name__}")

    def stop(self, by: ev.StopBy, reason: str, *, immediate: bool) -> None:
        """End the run early: drain first, or at once."""
        self._handle(ev.StopRequested(by, reason, immediate))

    # --- what agents do (FleetListener) -------------------------------------------------------------------------------

    def attached(self, link: AgentLink) -> None:
        """An agent is attached and its clock known; one without the labels asked for is none of this run's."""
        hello = link.hello
        if not matches(hello.labels, self.request.agent_labels):
            return
        weight = hello.workers * hello.capacity_permille
        self._handle(ev.AgentAttached(link.agent_id, link.epoch, hello.workers, weight, link.local))
        if self.machine.member(link.agent_id, link.epoch) is not None:
            self.links[link.agent_id] = link

    def detached(self, link: AgentLink) -> None:
        """An agent's stream ended."""
        self._handle(ev.AgentDetached(link.agent_id, link.epoch))

    def coming(self, messages: Iterable[tuple[AgentLink, m.FromAgent]]) -> None:
        """These are about to be `heard` in a row: what deltas are among them is read together."""
        said = (message for _link, message in messages if isinstance(message, m.SnapshotBlock))
        self._reader.expect(snapshot.delta for snapshot in said if self._follows(snapshot))

    def heard(self, link: AgentLink, message: m.FromAgent) -> None:
        """An agent said something. What cannot be costs it its attachment, and nobody else anything."""
        if self.machine.member(link.agent_id, link.epoch) is None:
            return
        run_id = getattr(message, "run_id", "")
        if run_id != self.request.run_id and not isinstance(message, m.Heartbeat):
            return
        try:
            self._hear(link.agent_id, link.epoch, message)
        except (CodecError, HostileData) as error:
            self._refuse(link, error)

    def _refuse(self, link: AgentLink, error: Exception) -> None:
        self._note("data_refused", f"agent {link.agent_id} sent data that cannot be: {error}", link.agent_id)
        link.close(m.Refusal("data", str(error)))
        self._handle(ev.AgentRefused(link.agent_id, link.epoch, str(error)))

    def _hear(self, agent_id: str, epoch: int, message: m.FromAgent) -> None:
        book = self._book(agent_id, epoch)
        if isinstance(message, m.Heartbeat):
            if message.run_id == self.request.run_id:  # the last one of the run before may come now
                book.heartbeat(message, self._clock_of(agent_id))
            self._handle(ev.HeartbeatReceived(agent_id, epoch, message.monotonic_ns))
        elif isinstance(message, m.SnapshotBlock):
            self._hear_snapshot(agent_id, epoch, message)
        elif isinstance(message, m.PrepareResult):
            self._handle(ev.Prepared(agent_id, epoch, message.problems))
        elif isinstance(message, m.SetupResult):
            self._hear_setup(agent_id, epoch, message)
        elif isinstance(message, m.TeardownResult):
            self._handle(ev.TeardownDone(agent_id, epoch, message.problem))
        elif isinstance(message, m.Final):
            book.final_totals, book.final_lost = decode_totals(message.totals), message.lost
            self._handle(ev.FinalReceived(agent_id, epoch, message.last_seq, message.shards))
        elif isinstance(message, m.Reserve):
            self._check.reservation(message)
            self._handle(ev.DrawsReserved(agent_id, epoch, message.id, message.draws))
        elif isinstance(message, m.WorkerEvent):
            self._hear_worker_event(agent_id, epoch, message)
        elif isinstance(message, m.LogBatch):
            for line in message.lines:
                self._note("log", line, agent_id)

    def _book(self, agent_id: str, epoch: int) -> AgentBook:
        book = self.books.get((agent_id, epoch))
        if book is None:
            book = self.books[agent_id, epoch] = AgentBook()
        return book

    def _hear_snapshot(self, agent_id: str, epoch: int, snapshot: m.SnapshotBlock) -> None:
        if len(snapshot.ranges) != 1 or (snapshot.ranges[0].agent_id, snapshot.ranges[0].epoch) != (agent_id, epoch):
            raise HostileData("a snapshot in the name of another agent")
        where = snapshot.ranges[0]
        block: Block | None = None
        if self._follows(snapshot):
            block = self._reader.block(snapshot.delta)
            self._check.block(block, self._elapsed_ns() or 0)
            attribute(block.rest, agent_id)
        payload = (snapshot.delta, block)
        self._handle(ev.SnapshotReceived(agent_id, epoch, where.from_seq, where.to_seq, payload))

    def _follows(self, snapshot: m.SnapshotBlock) -> bool:
        where = snapshot.ranges[0]
        return self.machine.sequence.judge(where.agent_id, where.epoch, where.from_seq, where.to_seq) == "apply"

    def heard_block(self, relay: RelayLink, block: RelayBlock) -> None:
        """A relay sent a block of several agents."""
        event = read_block(relay, block, self.request.run_id, self.machine, self._check, self._elapsed_ns() or 0)
        if isinstance(event, BadBlock):
            self._refuse(event.link, event.error)
        elif event is not None:
            self._handle(event)

    def heard_beats(self, _relay: RelayLink, beats: Sequence[ChildBeat]) -> None:
        """A relay brought heartbeats of several agents."""
        known = [child for child in beats if self.machine.member(child.agent_id, child.epoch) is not None]
        for child in known:
            if child.run_id != self.request.run_id:
                continue  # of the run before: it waited in its relay
            clock = self._clock_of(child.agent_id) if child.began_ns else None
            self._book(child.agent_id, child.epoch).relayed_beat(child, clock)
        clocks = tuple([(child.agent_id, child.epoch, child.monotonic_ns) for child in known])
        self._handle(ev.BeatsReceived(clocks))

    def _clock_of(self, agent_id: str) -> tuple[int, int] | None:
        link = self.links.get(agent_id)  # none yet where this controller was started in mid-run
        return link.clock.reading_at(self._clock()) if link is not None else None

    def relay_changed(self, relay: RelayLink, text: str) -> None:
        """A relay came or its stream ended while this run is on."""
        self._note("relay_changed", text, relay=relay.relay_id)

    def _hear_setup(self, agent_id: str, epoch: int, result: m.SetupResult) -> None:
        problem = result.problem
        if problem is None:
            try:
                orjson.loads(result.shared)
            except orjson.JSONDecodeError:
                problem = m.Problem("setup", "what set-up returned did not arrive as JSON")
        self._handle(ev.SetupDone(agent_id, epoch, result.shared, problem))

    def _hear_worker_event(self, agent_id: str, epoch: int, event: m.WorkerEvent) -> None:
        book, again = self._book(agent_id, epoch), tuple[int, ...]()
        if event.number:
            if event.number <= book.worker_events_seen:
                return
            book.worker_events_seen = event.number
            again = (epoch, event.number)
        data = {"worker": event.worker, "transaction": event.transaction, "step": event.step}
        data["at_offset_ns"] = event.at_offset_ns
        self._note(f"worker_{event.kind}", event.text, agent_id, again=again, **data)

    # --- carrying out -------------------------------------------------------------------------------------------------

    def _handle(self, event: ev.Event) -> None:
        """Feed the machine and do what it says. A mistake of ours ends the run as failed instead of hanging it."""
        if self._ended.is_set():
            return
        try:
            for instruction in self.machine.handle(event, self._clock()):
                self._do(instruction)
        except Exception as error:
            self._crashed(error, type(event).__name__)

    def _crashed(self, error: Exception, at: str) -> None:
        LOGGER.error("the controller failed at %s", at, exc_info=error)
        self._crash = error
        self._note("internal_error", f"the controller failed: {type(error).__name__}; see its log")
        for link in self._fleet:
            link.send(m.Stop(self.request.run_id, 0, immediate=True, reason="the controller failed"))
            link.send(m.End(self.request.run_id))
        self._ended.set()

    def _do(self, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.Send):
            self._send(instruction.agent_id, instruction.message)
        elif isinstance(instruction, do.LogAndApply):
            self._log_and_apply(instruction)
        elif isinstance(instruction, do.LogAndApplyBlock):
            self._log_and_apply_block(instruction)
        elif isinstance(instruction, do.SendRelay):
            relay = self._fleet.relay(instruction.relay_id)
            if relay is not None:
                relay.send(instruction.message)
        elif isinstance(instruction, do.Record):
            self._note(instruction.kind, instruction.text, instruction.agent_id, **instruction.data)
        elif isinstance(instruction, do.SendPrepare):
            streams = min(len(self.machine.members), self._fleet.load)
            prepare = paced(self._prepare, self.request, self.machine.shard_count, streams)
            self._send(instruction.agent_id, prepare)
        elif isinstance(instruction, do.SendStart):
            link = self._fleet.get(instruction.agent_id)
            if link is not None and link.ready:  # else its clock is not known yet; it is told when it is
                at_ns = link.clock.to_agent(instruction.at_ns)
                link.send(m.Start(self.request.run_id, at_ns, instruction.shared))
        elif isinstance(instruction, do.LogDraws):
            draws = [(draw.user, draw.dataset, draw.draws) for draw in instruction.draws]
            self._append("draws", instruction.agent_id, instruction.epoch, draws)
        elif isinstance(instruction, do.LogState):
            self._append("state", instruction.run, instruction.members)
        elif isinstance(instruction, do.CheckTotals):
            self._check_totals(instruction.agent_id, instruction.epoch)
        else:
            self._ended.set()

    def _send(self, agent_id: str, message: m.ToAgent) -> None:
        link = self._fleet.get(agent_id)
        if link is not None:
            link.send(message)

    def _log_and_apply(self, order: do.LogAndApply) -> None:
        encoded, block = order.payload
        self._append("delta", order.agent_id, order.epoch, order.from_seq, order.to_seq, encoded)
        self.books[order.agent_id, order.epoch].took(block)
        self._merging.add(block)

    def _log_and_apply_block(self, order: do.LogAndApplyBlock) -> None:
        encoded, block = order.payload
        self._append("block", order.ranges, encoded)
        for where in order.ranges:
            self._book(where.agent_id, where.epoch).relayed(where.sums, where.started)
        self._merging.add(block)

    @property
    def merged(self) -> MergedState:
        """Return the sum of everything logged; what waited is added up first, together and so at a small price.

        While a checkpoint is made of it, the sum may lag behind by a second or so.
        """
        self._merging.settle()
        return self._merging.total

    def _append(self, kind: str, *values: object) -> None:
        """Write to the log; when that fails the run goes on in memory, and its evidence says so."""
        if self._log is None or self._log_broken:
            return
        try:
            self._log.append(kind, *values)
        except RunLogError as error:
            self._log_failed(str(error))

    def _log_failed(self, text: str) -> None:
        if not self._log_broken:
            self._log_broken = True
            self._note("log_failed", f"the run goes on in memory only, a crash would lose it: {text}")

    def _check_totals(self, agent_id: str, epoch: int) -> None:
        book = self.books[agent_id, epoch]
        wrong = book.mismatches()
        if wrong:
            text = f"agent {agent_id} counted otherwise than what was merged from it, in {len(wrong)} series"
            self._note("final_mismatch", text, agent_id, series=wrong[:20], count=len(wrong))
        if book.final_lost:
            text = f"agent {agent_id} cannot account for {book.final_lost} arrivals or iterations of workers that died"
            self._note("agent_arrivals_lost", text, agent_id, count=book.final_lost)
        book.running, book.final_totals, book.relayed_sums = RunningTotals(), None, None

    def _note(self, kind: str, text: str, agent_id: str = "", *, again: tuple[int, ...] = (), **data: object) -> None:
        """Keep an event, in the log too; `again`: epoch and number by which a repetition of it is known."""
        now = self._clock()
        if self.events.note(Noted(now, kind, text, agent_id, data)) and kind != "log":
            self._append("event", now, kind, text, agent_id, *again)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _elapsed_ns(self) -> int | None:
        start = self.machine.start_ns
        if start is None:
            return None
        return (self.machine.load_ended_ns or self._clock()) - start

    def planned_between(self, from_s: int, to_s: int) -> int:
        """Return the arrivals due in the whole seconds [`from_s`, `to_s`); 0 in the closed model."""
        names = [transaction.name for transaction in self.request.plan.transactions]
        return sum(self._planned.due(n, to_s * NS_PER_S) - self._planned.due(n, from_s * NS_PER_S) for n in names)

    def progress(self) -> Progress:
        """Return the run as it stands."""
        machine, elapsed = self.machine, self._elapsed_ns()
        members = machine.members.values()
        return Progress(
            run_id=self.request.run_id,
            phase=machine.phase,
            elapsed_ns=elapsed,
            duration_ns=self.request.plan.duration_ns,
            transactions=transactions_progress(self.request.plan, self.merged, self._planned, elapsed or 0),
            in_flight=sum(book.in_flight for book in self.books.values()) if machine.phase != "teardown" else 0,
            agents_attached=sum(member.attached for member in members),
            agents_lost=sum(member.lost or member.refused for member in members),
            agents_wanted=self.request.agents_wanted,
            verdict=self._rules.verdict,
            rules_broken=self._rules.broken,
            events=self.events.fresh(machine.start_ns or self._clock()),
            warnings=self.request.warnings,
        )

    def _result(self) -> RunData:
        now = self._clock()
        end = self.machine.outcome or do.EndRun("finished")
        if self._crash is not None:
            end = do.EndRun("failed", "infrastructure", f"internal error: {type(self._crash).__name__}")
        facts = Facts(
            request=self.request,
            machine=self.machine,
            merged=self.merged,
            events=self.events,
            books=self.books,
            links=self.links,
            end=end,
            began_ns=self.began_ns,
            began_at=self._started_at,
            now_ns=now,
            tool_version=self._tool_version,
        )
        return run_data(facts)
