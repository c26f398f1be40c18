"""The controller's end of relays: what `relays.station` does in the product, on simulated streams."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fleet_sim.links import Link
from fleet_sim.network import Stream
from fleet_sim.world import decode, sums
from loadproof.metrics import add_sums
from loadproof_agent import records as r
from loadproof_controller.machine import events as ev
from loadproof_controller.messages import Lease
from loadproof_controller.relays import messages as rm
from loadproof_controller.relays.links import LeaseMemory

if TYPE_CHECKING:
    from fleet_sim.agents import Process
    from fleet_sim.controller import Controller
    from fleet_sim.relays import RelayProcess


class RelayedLink(Link):
    """An agent behind a relay, as the fleet keeps it."""

    def __init__(self, end: RelayEnd, process: Process) -> None:
        super().__init__(None, process)
        self.end = end
        self._closed = False
        self._leases = LeaseMemory()

    @property
    def name(self) -> tuple[str, int]:
        """Return what tells processes apart."""
        return self.process.name

    def send(self, message: Any) -> None:
        """Send by the relay; a lease that lasts on as a few numbers."""
        if self._closed:
            return
        if isinstance(message, Lease) and self._leases.renewed(message):
            renewal = rm.Renewal(*self.name, message.fence, message.echo_ns)
            self.end.stream.send("down", rm.Renewals(message.run_id, message.duration_ms, (renewal,)))
        else:
            self.end.stream.send("down", rm.ChildTold(*self.name, message))

    def delay_ns(self) -> int:
        """Return how long one way takes: two streams."""
        return self.end.stream.delay_ns() * 2

    @property
    def stalled(self) -> bool:
        """Whether nothing gets through."""
        own = self.process.stream
        return self.end.stream.stalled or (own is not None and own.stalled)

    def close(self) -> None:
        """The agent has another link: the relay is to end its stream."""
        if not self._closed:
            self._closed = True
            self.end.stream.send("down", rm.ChildClosed(*self.name))


class RelayEnd:
    """One attached relay."""

    def __init__(self, stream: Stream, relay: RelayProcess) -> None:
        self.stream, self.relay = stream, relay
        self.children: dict[tuple[str, int], RelayedLink] = {}
        self.introduced: set[tuple[str, int]] = set()


class RelayDesk:
    """The relays attached to the controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._ends: dict[str, RelayEnd] = {}
        self.refused = 0

    def crash(self) -> None:
        """The controller is gone; relays notice."""
        ends, self._ends = self._ends, {}
        for end in ends.values():
            end.relay.cut()

    def broke(self, stream: Stream, relay: RelayProcess) -> None:
        """A relay's stream is gone, and with it those of its agents."""
        end = self._ends.get(relay.relay_id)
        if end is not None and end.stream is stream:
            del self._ends[relay.relay_id]
            for link in end.children.values():
                if self._controller.links.get(link.process.agent_id) is link:
                    self._controller.forget(link)

    def answer(self, relay_id: str, answer: rm.BlockAnswer) -> None:
        """Answer a block."""
        self.refused += answer.verdict == "again"
        end = self._ends.get(relay_id)
        if end is not None:
            end.stream.send("down", answer)

    def arrived(self, stream: Stream, relay: RelayProcess, record: Any) -> None:
        """A relay's message is here."""
        if not self._controller.listening:
            return
        end, kind = self._ends.get(relay.relay_id), type(record).__name__
        if kind == "RelayHello":
            if end is not None:
                self.broke(end.stream, end.relay)
            self._ends[relay.relay_id] = RelayEnd(stream, relay)
            stream.send("down", rm.RelayWelcome(1, 500))
        elif end is not None and end.stream is stream:
            self._heard(end, kind, record)

    def _heard(self, end: RelayEnd, kind: str, record: Any) -> None:
        controller = self._controller
        if kind == "RelayBeats":
            beats = [beat for beat in record.beats if self._current(end, beat)]
            for beat in beats:
                controller.note_beat(beat.agent_id, beat.epoch, _as_heartbeat(beat))
            controller.handle(ev.BeatsReceived(tuple((beat.agent_id, beat.epoch, beat.monotonic_ns) for beat in beats)))
        elif kind == "RelayBlock":
            self._heard_block(end, record)
        elif kind == "ChildGone":
            link = end.children.pop((record.agent_id, record.epoch), None)
            if link is not None and controller.links.get(record.agent_id) is link:
                controller.forget(link)
        elif type(record.message).__name__ == "Hello":
            self._came(end, record)
        elif self._current(end, record):
            controller.hear(record.agent_id, record.epoch, record.message)

    def _current(self, end: RelayEnd, record: Any) -> bool:
        link = end.children.get((record.agent_id, record.epoch))
        return link is not None and self._controller.links.get(record.agent_id) is link

    def _came(self, end: RelayEnd, said: Any) -> None:
        key = (said.agent_id, said.epoch)
        process = self._controller.sim.process_of(key)
        known: Any = self._controller.links.get(said.agent_id)
        if known is not None and known.process.epoch != said.epoch and known not in end.children.values():
            end.stream.send("down", rm.ChildClosed(*key))
            return
        older = end.children.get(key)
        if older is not None:
            older._closed = True
        link = end.children[key] = RelayedLink(end, process)
        end.introduced.add(key)
        self._controller.welcome(link, said.message)

    def _heard_block(self, end: RelayEnd, block: Any) -> None:
        ranges = tuple(rm.RelayedRange(**dataclasses.asdict(where)) for where in block.ranges)
        oracle = self._controller.sim.oracle
        if not {(where.agent_id, where.epoch) for where in ranges} <= end.introduced:
            oracle.fail("a block names an agent that never came by its relay")
        if add_sums(where.sums for where in ranges) != sums(decode(block.delta)):
            oracle.fail("a block holds something else than its ranges say")
        self._controller.handle(ev.BlockReceived(end.relay.relay_id, block.number, ranges, block.delta))


def _as_heartbeat(beat: Any) -> r.Heartbeat:
    reading = r.WorkerReading(0, 0, 0, beat.in_flight, beat.cpu_permille, beat.memory_bytes, beat.began_ns)
    return r.Heartbeat(beat.run_id, beat.monotonic_ns, (reading,))
