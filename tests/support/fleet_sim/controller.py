"""The controller: the real state machine, a disk, streams. It may crash at any moment and start again from its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from fleet_sim.links import Link
from fleet_sim.network import Stream
from fleet_sim.relay_desk import RelayDesk
from fleet_sim.world import MS, decode, encode
from loadproof_controller import messages as m
from loadproof_controller.clock import ClockEstimate
from loadproof_controller.ledger import AgentBook
from loadproof_controller.machine import OVER, RunMachine
from loadproof_controller.machine import events as ev
from loadproof_controller.machine import instructions as do
from loadproof_controller.machine.sequence import SequenceBook
from loadproof_controller.runlog import LogFacts

if TYPE_CHECKING:
    from fleet_sim.agents import Process
    from fleet_sim.simulation import Simulation

TICK_NS = 200 * MS
CHECKPOINT_NS = 2_700 * MS
WRITING_NS = 900 * MS
RUN_ID = "run"


class Controller:
    """One controller machine with its disk; `crash` takes everything but the disk."""

    def __init__(self, sim: Simulation) -> None:
        self.sim, self.world = sim, sim.world
        self.disk: list[bytes] = []
        self.unflushed: list[bytes] = []
        self.saved: tuple[bytes, dict[tuple[str, int], bytes]] | None = None
        self.checkpoints = 0
        self.facts = LogFacts()
        self.listening = True
        self.life = 0
        self.links: dict[str, Link] = {}
        self.clocks: dict[tuple[str, int], ClockEstimate] = {}
        self.books: dict[tuple[str, int], AgentBook] = {}
        self.notes: list[do.Record] = []
        self.relays = RelayDesk(self)
        self.machine = RunMachine(sim.config, self.world.now)
        self.world.after(0, lambda: self._tick(0))
        self.world.after(CHECKPOINT_NS, self._checkpoint)

    @property
    def over(self) -> bool:
        """Whether the run is over."""
        return self.listening and self.machine.phase in OVER

    # --- life ---------------------------------------------------------------------------------------------------------

    def crash(self, down_ns: int) -> None:
        """Kill -9; it is started again after `down_ns`."""
        if not self.listening:
            return
        self.listening = False
        self.life += 1
        self.unflushed.clear()
        self.clocks.clear()
        self.books.clear()
        links, self.links = self.links, {}
        for link in links.values():
            if link.process.relay is None:
                self.sim.cut(link.process)
        self.relays.crash()
        self.world.after(down_ns, self._restart)

    def _restart(self) -> None:
        self.listening = True
        oracle = self.sim.oracle
        oracle.forget()
        facts = self.facts = LogFacts()
        if self.saved is not None:
            packed, tallies = self.saved
            facts = self.facts = LogFacts.unpack(packed)
            for name, tally in tallies.items():
                oracle.apply(name, decode(tally))
        for data in self.disk:
            kind, *values = msgpack.unpackb(data, strict_map_key=False)
            facts.take(kind, values)
            if kind == "delta":
                oracle.apply((values[0], values[1]), decode(values[4]))
            elif kind == "block":
                oracle.apply_block(values[0], decode(values[1]))
        if not facts.run_state:
            self.machine = RunMachine(self.sim.config, self.world.now)
        else:
            self.machine = RunMachine.recalled(
                self.sim.config, self.world.now, SequenceBook(facts.seqs), facts.run_state, facts.members.values(),
                facts.draws.values(),
            )  # fmt: skip
        life = self.life
        self.world.after(0, lambda: self._tick(life))

    def _tick(self, life: int) -> None:
        if life == self.life and self.listening:
            self.handle(ev.Tick())
            self.world.after(TICK_NS, lambda: self._tick(life))

    def _checkpoint(self) -> None:
        """Begin a checkpoint; it counts once it is written, if nothing comes between."""
        self.world.after(CHECKPOINT_NS, self._checkpoint)
        if self.listening and not self.over:
            merged = {name: encode(tally) for name, tally in self.sim.oracle.merged_of.items()}
            self.begin_checkpoint(self.facts.pack(), merged)

    def begin_checkpoint(self, packed: bytes, merged: dict[tuple[str, int], bytes]) -> None:
        """Write what the records so far say, in some time; only then are they removed."""
        sealed, life = len(self.disk), self.life

        def written() -> None:
            if life == self.life:
                self.saved = (packed, merged)
                self.checkpoints += 1
                self.remove_records(sealed)

        self.world.after(WRITING_NS, written)

    def remove_records(self, sealed: int) -> None:
        """Remove the oldest records."""
        del self.disk[:sealed]

    # --- streams ------------------------------------------------------------------------------------------------------

    def arrived(self, stream: Stream, process: Process, record: Any) -> None:
        """A message of an agent is here."""
        link = self.links.get(process.agent_id)
        if not self.listening:
            return
        if type(record).__name__ == "Hello":
            self._greet(stream, process, record)
        elif link is not None and link.stream is stream:
            self.hear(process.agent_id, process.epoch, record)

    def _greet(self, stream: Stream, process: Process, hello: Any) -> None:
        self.welcome(Link(stream, process), hello)

    def welcome(self, link: Link, hello: Any) -> None:
        """An agent is in, on this link from here on."""
        process = link.process
        old = self.links.get(process.agent_id)
        if old is not None:
            self.forget(old)
            old.close()
        self.links[process.agent_id] = link
        link.send(m.Welcome(1, process.agent_id, 500, self.sim.oracle.orphan_grace_ns // MS))
        if hello.run_id and hello.run_id != RUN_ID:
            link.send(m.End(hello.run_id))
        self.world.after(60 * MS, lambda: self._ready(link))

    def _ready(self, link: Link) -> None:
        process = link.process
        if self.links.get(process.agent_id) is not link or link.stalled:
            return
        for _ in range(4):
            there = link.delay_ns() + max(process.lopsided_ns, 0)
            back = link.delay_ns() + max(-process.lopsided_ns, 0)
            now = self.world.now
            read_ns = process.clock_at(now + there)
            link.clock.add(now, read_ns, read_ns, now + there + back)
        link.ready = True
        self.clocks[process.name] = link.clock
        self.handle(ev.AgentAttached(process.agent_id, process.epoch, process.workers, process.workers * 1000))

    def broke(self, stream: Stream, process: Process) -> None:
        """A stream is gone."""
        link = self.links.get(process.agent_id)
        if link is not None and link.stream is stream:
            self.forget(link)

    def forget(self, link: Link) -> None:
        """The agent has no stream any more."""
        process = link.process
        del self.links[process.agent_id]
        if link.ready and self.listening:
            self.handle(ev.AgentDetached(process.agent_id, process.epoch))

    # --- the machine --------------------------------------------------------------------------------------------------

    def hear(self, agent_id: str, epoch: int, record: Any) -> None:
        """An attached agent said something."""
        if self.machine.member(agent_id, epoch) is None or getattr(record, "run_id", RUN_ID) not in {RUN_ID, ""}:
            return
        match type(record).__name__:
            case "Heartbeat":
                self.note_beat(agent_id, epoch, record)
                self.handle(ev.HeartbeatReceived(agent_id, epoch, record.monotonic_ns))
            case "SnapshotBlock":
                where = record.ranges[0]
                self.handle(ev.SnapshotReceived(agent_id, epoch, where.from_seq, where.to_seq, record.delta))
            case "PrepareResult":
                self.handle(ev.Prepared(agent_id, epoch, record.problems))
            case "SetupResult":
                self.handle(ev.SetupDone(agent_id, epoch, record.shared, record.problem))
            case "TeardownResult":
                self.handle(ev.TeardownDone(agent_id, epoch, record.problem))
            case "Final":
                self.sim.finals[agent_id, epoch] = record
                self.handle(ev.FinalReceived(agent_id, epoch, record.last_seq, record.shards))

    def note_beat(self, agent_id: str, epoch: int, beat: Any) -> None:
        """Note what a heartbeat says of the agent's workers."""
        clock = self.clocks.get((agent_id, epoch))
        book = self.books.setdefault((agent_id, epoch), AgentBook())
        book.heartbeat(beat, clock.reading_at(self.world.now) if clock is not None else None)

    def handle(self, event: ev.Event) -> None:
        """Feed the machine and do what it says."""
        for instruction in self.machine.handle(event, self.world.now):
            self._do(instruction)

    def _do(self, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.Send):
            self._send(instruction.agent_id, instruction.message)
        elif isinstance(instruction, do.SendPrepare):
            self._send(instruction.agent_id, m.Prepare(RUN_ID, b"", b"", "", 0, self.machine.shard_count, 500))
        elif isinstance(instruction, do.SendStart):
            self.sim.oracle.start_ns = instruction.at_ns
            link = self.links.get(instruction.agent_id)
            if link is not None and link.ready:
                at_ns = link.clock.to_agent(instruction.at_ns)
                self.sim.oracle.told_start(link.process, at_ns, link.clock)
                link.send(m.Start(RUN_ID, at_ns, instruction.shared))
        elif isinstance(instruction, do.LogAndApply):
            self.log("delta", *(getattr(instruction, name) for name in ("agent_id", "epoch", "from_seq", "to_seq")),
                     instruction.payload)  # fmt: skip
            name = (instruction.agent_id, instruction.epoch)
            self.sim.oracle.apply(name, decode(instruction.payload))
        elif isinstance(instruction, do.LogAndApplyBlock):
            ranges = [where.numbers for where in instruction.ranges]
            self.log("block", ranges, instruction.payload)
            self.sim.oracle.apply_block(ranges, decode(instruction.payload))
        elif isinstance(instruction, do.SendRelay):
            self.relays.answer(instruction.relay_id, instruction.message)
        elif isinstance(instruction, do.LogState):
            self.log("state", instruction.run, instruction.members)
        elif isinstance(instruction, do.LogDraws):
            draws = [(draw.user, draw.dataset, draw.draws) for draw in instruction.draws]
            self.log("draws", instruction.agent_id, instruction.epoch, draws)
        elif isinstance(instruction, do.CheckTotals):
            self._check_totals((instruction.agent_id, instruction.epoch))
        elif isinstance(instruction, do.Record):
            self.notes.append(instruction)
            if instruction.kind == "redealt":
                self._spares_went_first(instruction)

    def log(self, *record: Any) -> None:
        """Write to the disk; what is written survives."""
        self.disk.append(msgpack.packb(record))
        self.facts.take(record[0], record[1:])
        if record[0] == "delta":
            self.sim.oracle.durable[record[1], record[2]] = record[4]
        elif record[0] == "block":
            self.sim.oracle.durable.update({(name, epoch): to_seq for name, epoch, _from_seq, to_seq in record[1]})

    def _spares_went_first(self, redealt: do.Record) -> None:
        """Shards are dealt again: to spares that are ready, as long as there are any."""
        takers = str(redealt.data["to"]).split(", ")
        for member in self.machine.members.values():
            heard_ns = member.heartbeat_ns
            fresh = heard_ns is not None and self.world.now < heard_ns + self.machine.config.lease_ns // 2
            waits = member.spare and member.prepared and member.live and member.attached and fresh
            if waits and member.agent_id not in takers:
                self.sim.oracle.fail(f"{redealt.text}, past {member.agent_id}, which is kept in reserve and is ready")

    def _check_totals(self, name: tuple[str, int]) -> None:
        said = self.sim.finals[name].totals
        merged = self.sim.oracle.merged_of.get(name)
        if said and merged is not None and said != merged.digest().encode():
            self.sim.oracle.fail(f"the Final of {name} says otherwise than what was merged")

    def _send(self, agent_id: str, message: Any) -> None:
        if isinstance(message, m.Lease):
            holder = (agent_id, self.machine.members[agent_id].epoch)
            for grant in message.shards:
                self.sim.oracle.dealt.setdefault(grant.shard, set()).add(holder)
        link = self.links.get(agent_id)
        if link is not None:
            link.send(message)
