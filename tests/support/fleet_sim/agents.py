"""An agent process: the real state machine of the supervisor, a clock of its own, a stream that comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from fleet_sim.network import Stream
from fleet_sim.workers import Crew
from fleet_sim.world import MS, S, Tally, encode, merge
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.config import Limits
from loadproof_agent.machine import AgentMachine

if TYPE_CHECKING:
    from fleet_sim.relays import RelayProcess
    from fleet_sim.simulation import Simulation

TICK_NS = 250 * MS
DRIFT_PPM = 50
"""How much faster or slower than the controller's clock an agent's may go, microseconds a second."""
LOPSIDED_NS = (0, 0, 40 * MS, -40 * MS)
"""How much longer than the way back the way to an agent always takes."""
LIMITS = Limits(
    snapshots_unsent_max=3, snapshots_in_flight_max=2, resend_ns=1_500 * MS, contact_ns=2_500 * MS,
)  # fmt: skip


class Process:
    """One life of an agent."""

    def __init__(self, sim: Simulation, agent_id: str) -> None:
        self.sim, self.world, self.oracle = sim, sim.world, sim.oracle
        self.plan, self.schedule = sim.plan, sim.schedule
        self.agent_id = agent_id
        self.epoch = self.world.random.getrandbits(62) + 1
        self.workers = self.world.random.choice((1, 1, 2))
        self.offset_ns = self.world.random.randrange(-500 * S, 10_000 * S)
        own = Random(self.epoch)
        self.drift_ppm = own.randint(-DRIFT_PPM, DRIFT_PPM)
        self.lopsided_ns = own.choice(LOPSIDED_NS)
        self.began: dict[int, int] = {}
        """When its workers began, by its own clock and really."""
        self.born_ns = self.world.now
        self.alive = True
        self.left = self.orphaned = False
        self.frozen = False
        self.supervisor_frozen = self.stood_still = False
        self.unreachable_until_ns = 0
        self.stream: Stream | None = None
        self.relay: RelayProcess | None = None
        self.crew: Crew | None = None
        self.heard_ns: int | None = None
        self.acked_seq = self.coalesced = 0
        self.cuts: list[int] = [0]
        self.homes: set[str] = set()
        """Names of the relays it dialled, empty for the controller itself."""
        self._waiting: list[Callable[[], None]] = []
        hello = r.Hello(1, 1, "layout", agent_id, self.epoch, workers=self.workers)
        self.machine: AgentMachine[Tally] = AgentMachine(hello, merge=merge, encode=encode, limits=LIMITS)
        self.world.after(0, self._dial)
        self.world.after(self.world.random.randrange(TICK_NS), self._tick)

    @property
    def name(self) -> tuple[str, int]:
        """Return what tells processes apart."""
        return self.agent_id, self.epoch

    def clock(self) -> int:
        """Return this machine's monotonic clock."""
        return self.clock_at(self.world.now)

    def clock_at(self, world_ns: int) -> int:
        """Return what this machine's monotonic clock shows then."""
        return world_ns + self.offset_ns + (world_ns - self.born_ns) * self.drift_ppm // 1_000_000

    def tell(self, do: Callable[[], None]) -> None:
        """Do something in the supervisor's loop, once it runs."""
        if not self.alive:
            return
        if self.frozen or self.supervisor_frozen:
            self._waiting.append(do)
        else:
            do()

    def thaw(self) -> None:
        """The process goes on where it stood."""
        self.frozen = self.supervisor_frozen = False
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            self.tell(do)

    def kill(self) -> None:
        """Kill -9."""
        self.alive = False
        if self.crew is not None:
            self.crew.closed = True
        self.sim.cut(self)

    # --- the stream ---------------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        if not self.alive or self.left or self.stream is not None:
            return
        busy = self.frozen or self.supervisor_frozen or self.world.now < self.unreachable_until_ns
        self.relay = self.sim.next_relay()
        there = self.sim.controller.listening if self.relay is None else self.relay.reachable
        if busy or not there:
            self.world.after(self.world.random.randrange(250 * MS, 1_000 * MS), self._dial)
            return
        self.homes.add(self.relay.relay_id if self.relay is not None else "")
        stream = self.stream = self.sim.connect(self)
        self.handle(e.Connected())
        assert stream is self.stream

    def arrived(self, stream: Stream, record: Any) -> None:
        """The controller's message is here."""

        def hear() -> None:
            if stream is self.stream:
                if self.machine.link == "attached" or isinstance(record, r.Welcome):
                    self.heard_ns = self.world.now
                self.handle(e.Received(record))

        self.tell(hear)

    def broke(self, stream: Stream) -> None:
        """The stream is gone."""

        def notice() -> None:
            if stream is self.stream:
                self.stream = None
                self.handle(e.Disconnected())
                self.world.after(self.world.random.randrange(50 * MS, 500 * MS), self._dial)

        self.tell(notice)

    # --- the machine --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self.alive:
            return
        self.world.after(TICK_NS, self._tick)
        if self.frozen or self.supervisor_frozen:
            return
        if self.crew is not None:
            self.crew.tick()
        workers = self.crew.workers.values() if self.crew is not None else ()
        self.handle(e.Tick(tuple(r.WorkerReading(w.index, 0, 0, 0, 0, 0, w.began_ns) for w in workers)))

    def handle(self, event: e.Event[Tally]) -> None:
        """Feed the machine and obey it."""
        if not self.alive:
            return
        if isinstance(event, e.Measured):
            self.cuts.append(self.world.now)
        for instruction in self.machine.handle(event, self.clock()):
            self._obey(instruction)
        run = self.machine.run
        self.orphaned = self.orphaned or (run is not None and run.orphaned)
        self.coalesced = run.queue.coalesced if run is not None else self.coalesced
        if run is not None and run.queue.acked_seq > self.acked_seq:
            self.acked_seq = run.queue.acked_seq
            self.oracle.acked(self, self.acked_seq)

    def _obey(self, instruction: e.Instruction) -> None:
        crew = self.crew
        match instruction:
            case e.Send(record):
                if isinstance(record, r.SnapshotBlock):
                    self.oracle.sent(self, record)
                if self.stream is not None:
                    self.stream.send("up", record)
            case e.DropStream():
                self.sim.cut(self)
            case e.Leave():
                self.left = True
                self.sim.cut(self)
            case e.PrepareRun(prepare):
                self.crew = Crew(self, prepare, self.handle)
                self.world.after(self.world.random.randrange(50 * MS, 400 * MS), lambda: self._prepared(prepare.run_id))
            case e.RunSetup():
                assert crew is not None
                self.oracle.setups += 1
                self._answer_later(r.SetupResult(crew.run_id, b"{}"))
            case e.RunTeardown():
                assert crew is not None
                self.oracle.teardowns += 1
                self._answer_later(r.TeardownResult(crew.run_id))
            case e.ForgetRun():
                if crew is not None:
                    crew.closed = True
                    self.crew = None
            case _ if crew is not None:
                self._instruct(crew, instruction)

    def _instruct(self, crew: Crew, instruction: e.Instruction) -> None:
        match instruction:
            case e.HoldShards(lease, end_ns):
                crew.hold(lease, end_ns)
            case e.ExtendLease(end_ns):
                crew.extend(end_ns)
            case e.BeginLoad(start_at_ns, _shared):
                crew.begin(start_at_ns)
            case e.HaltLoad(at_ns, immediate, _reason):
                crew.halt(at_ns, immediate=immediate)

    def _prepared(self, run_id: str) -> None:
        self.tell(lambda: self.handle(e.Answered(r.PrepareResult(run_id))))

    def _answer_later(self, answer: Any) -> None:
        delay_ns = self.world.random.randrange(10 * MS, 100 * MS)
        self.world.after(delay_ns, lambda: self.tell(lambda: self.handle(e.Answered(answer))))
