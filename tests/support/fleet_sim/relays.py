"""A relay process: the real state machine, a clock, streams to its children and one to the controller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

from fleet_sim.network import Stream
from fleet_sim.world import MS, S, Tally, decode, encode, merge, sums
from loadproof_agent import records as r
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from loadproof_agent.relay.machine import RelayLimits, RelayMachine

if TYPE_CHECKING:
    from fleet_sim.agents import Process
    from fleet_sim.simulation import Simulation

TICK_NS = 100 * MS
LIMITS = RelayLimits(block_ns=400 * MS, resend_ns=1_500 * MS)
READ = (r.Hello, r.Heartbeat, r.SnapshotBlock)
"""What of its children's words a relay reads; the rest it passes on."""


class RelayProcess:
    """One life of a relay."""

    def __init__(self, sim: Simulation, relay_id: str) -> None:
        self.sim, self.world = sim, sim.world
        self.relay_id = relay_id
        self.offset_ns = self.world.random.randrange(10_000 * S)
        self.alive, self.frozen = True, False
        self.unreachable_until_ns = 0
        self.stream: Stream | None = None
        self.blocks = self.merged_ranges = 0
        self._children: dict[int, tuple[Stream, Process]] = {}
        self._link = 0
        self._waiting: list[Callable[[], None]] = []
        hello = rr.RelayHello(1, 1, "layout", relay_id, self.world.random.getrandbits(62) + 1)
        self.machine: RelayMachine[Tally] = RelayMachine(
            hello, decode=lambda data, _agent: decode(data), merge=lambda tallies: reduce(merge, tallies),
            encode=lambda tally, _version: encode(tally), sums=sums, limits=LIMITS,
        )  # fmt: skip
        self.world.after(0, self._dial)
        self.world.after(self.world.random.randrange(TICK_NS), self._tick)

    @property
    def reachable(self) -> bool:
        """Whether a child gets a connection."""
        return self.alive and not self.frozen

    def tell(self, do: Callable[[], None]) -> None:
        """Do something in the relay's loop, once it runs."""
        if self.alive:
            if self.frozen:
                self._waiting.append(do)
            else:
                do()

    def thaw(self) -> None:
        """The process goes on where it stood."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            self.tell(do)

    def kill(self) -> None:
        """Kill -9: its streams break on all sides."""
        self.alive = False
        self.cut()
        for _stream, process in list(self._children.values()):
            self.sim.cut(process)

    # --- to the controller --------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        if not self.alive or self.stream is not None:
            return
        busy = self.frozen or self.world.now < self.unreachable_until_ns or not self.sim.controller.listening
        if busy:
            self.world.after(self.world.random.randrange(250 * MS, 1_000 * MS), self._dial)
            return

        def up(record: Any) -> None:
            self.sim.controller.relays.arrived(stream, self, record)

        def down(record: Any) -> None:
            self.tell(lambda: self._heard(stream, record))

        stream = self.stream = Stream(self.world, up, down, rough=self.sim.rough, slow_ns=self.sim.slow_ns)
        self.handle(e.UplinkOpened())

    def cut(self) -> None:
        """The stream to the controller breaks; the controller may notice late."""
        stream = self.stream
        if stream is None:
            return
        stream.broken = True
        late_ns = self.world.between(0.0, 3.0) if stream.stalled else self.world.random.randrange(20 * MS)
        self.world.after(late_ns, lambda: self.sim.controller.relays.broke(stream, self))

        def notice() -> None:
            if stream is self.stream:
                self.stream = None
                self.handle(e.UplinkClosed())
                self.world.after(self.world.random.randrange(50 * MS, 500 * MS), self._dial)

        self.tell(notice)

    def _heard(self, stream: Stream, record: Any) -> None:
        if stream is self.stream:
            to_relay = _to_relay(record)
            told = to_relay.message if isinstance(to_relay, rr.ChildTold) else None
            self.handle(e.Heard(to_relay, told))

    # --- to children --------------------------------------------------------------------------------------------------

    def connect(self, process: Process) -> Stream:
        """Open a stream for a child."""
        self._link += 1
        link = self._link

        def up(record: Any) -> None:
            self.tell(lambda: self.handle(e.ChildSpoke(link, record if isinstance(record, READ) else None, record)))

        def down(record: Any) -> None:
            process.arrived(stream, record)

        stream = Stream(self.world, up, down, rough=self.sim.rough, slow_ns=self.sim.slow_ns)
        self._children[link] = (stream, process)
        return stream

    def broke(self, stream: Stream) -> None:
        """A child's stream is gone."""
        for link, (known, _process) in list(self._children.items()):
            if known is stream:
                del self._children[link]
                self.tell(lambda link=link: self.handle(e.ChildLeft(link)))  # type: ignore[misc]

    # --- the machine --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self.alive:
            return
        self.world.after(TICK_NS, self._tick)
        if not self.frozen:
            self.handle(e.Tick())

    def handle(self, event: e.Event) -> None:
        """Feed the machine and obey it."""
        if not self.alive:
            return
        for instruction in self.machine.handle(event, self.world.now + self.offset_ns):
            match instruction:
                case e.SendUp(record):
                    if isinstance(record, rr.RelayBlock):
                        self.blocks += 1
                        self.merged_ranges += len(record.ranges)
                    if self.stream is not None:
                        self.stream.send("up", record)
                case e.SendChild(link, message):
                    if link in self._children:
                        self._children[link][0].send("down", message)
                case e.EndChild(link):
                    if link in self._children:
                        stream, process = self._children.pop(link)
                        stream.broken = True
                        process.broke(stream)


def _to_relay(message: Any) -> Any:
    """Turn the controller's record into the relay's, as the wire does."""
    from fleet_sim.simulation import to_agent

    kind = getattr(rr, type(message).__name__)
    values = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    if "message" in values:
        values["message"] = to_agent(values["message"])
    if "renewals" in values:
        values["renewals"] = tuple(rr.Renewal(*item) for item in values["renewals"])
    if "states" in values:
        values["states"] = tuple(rr.RangeState(**dataclasses.asdict(item)) for item in values["states"])
    return kind(**values)
