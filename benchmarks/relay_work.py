"""What one second of a fleet costs the controller's own code, directly and through relays; gRPC and disk are left out.

    python -m benchmarks.relay_work [--agents 100] [--relays 1] [--seconds 34]

Everything between bytes that came in and bytes that go out: decoding, checking, the run's machine and its ten ticks a
second, merging, acks, leases; Python looks for cycles as in a controller's process. Processor time of this process, so
that neighbours count little; the mean of all seconds but the first, in which not every agent
reports yet: twice the interval of reports. Each second each agent has 50 series of 20
samples; agents report and beat as often as they would be told to in such a fleet.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.fleet_load import TRANSACTIONS, VARIANTS, FleetLoad, second_delta
from loadproof.histogram import LAYOUT_ID
from loadproof.metrics import AGENTS_VERSION, encode_delta, merge_deltas
from loadproof.plan import RunSpec
from loadproof_agent import _wire as agent_wire
from loadproof_agent import records as r
from loadproof_agent.relay import _wire as relay_wire
from loadproof_agent.relay import events as e
from loadproof_agent.relay import records as rr
from loadproof_agent.relay.machine import RelayMachine
from loadproof_agent.relay.process import counted, merge, read_delta, started, write_delta
from loadproof_controller import collector
from loadproof_controller import messages as m
from loadproof_controller._wire import decode_request, encode_response, pb
from loadproof_controller.cadence import heartbeat_ms_for, snapshot_ms_for
from loadproof_controller.fleet import AgentLink, Fleet
from loadproof_controller.machine import events as ev
from loadproof_controller.relays import messages as rm
from loadproof_controller.relays._wire import decode_relay_request, encode_relay_response, relay_pb2
from loadproof_controller.relays.links import RelayLink
from loadproof_controller.relays.station import RelayStation
from loadproof_controller.request import RunRequest
from loadproof_controller.runner import TICK_S, Runner
from loadproof_report.rundata import BundleInfo

BUNDLE = b"PK-bundle"
RUN = "fleet"


class Work:
    """A run on a fleet that exists in this process only."""

    def __init__(self, load: FleetLoad, relays: int, folder: Path) -> None:
        self.load = load
        self.fleet = Fleet(agents_max=100_000)
        info = BundleInfo(hashlib.sha256(BUNDLE).hexdigest())
        request = RunRequest(
            RUN, load.plan(), RunSpec("suite.py"), BUNDLE, info, folder, agents_wanted=load.agents, start_lead_s=0.0
        )
        self.now_ns = 0
        self.runner = self.fleet.listener = Runner(request, self.fleet, unix=False, clock=lambda: self.now_ns)
        self.station = RelayStation(self.fleet, greet=lambda _link: None, token_known=lambda _: True)
        self.relays = [RelayLink(rm.RelayHello(1, 1, LAYOUT_ID, f"r{i}", 1)) for i in range(relays)]
        self.machines = [
            RelayMachine(
                rr.RelayHello(1, 1, LAYOUT_ID, relay.relay_id, 1), decode=read_delta, merge=merge,
                encode=lambda delta, _version: write_delta(delta, AGENTS_VERSION), sums=counted, started=started,
            )
            for relay in self.relays
        ]  # fmt: skip
        for relay in self.relays:
            self.fleet.attach_relay(relay)
        self._told: list[tuple[str, bytes]] = []
        self.links = [self._attach(index) for index in range(load.agents)]
        self.every_s = snapshot_ms_for(1_000, self.fleet.load) // 1_000
        self._beat_s = (heartbeat_ms_for(15_000, self.fleet.load) or 1_000) / 1_000
        self.expected = 0
        self._begin()
        for index in range(load.agents if relays else 0):
            self._to_relay(index)

    def _attach(self, index: int) -> AgentLink:
        hello = m.Hello(1, 1, LAYOUT_ID, f"a{index}", index + 1)
        if not self.relays:
            return self.fleet.attach(hello)
        relay = self.relays[index % len(self.relays)]
        self.station.heard(relay, rm.ChildSaid(hello.agent_id, hello.epoch, hello), 0)
        return relay.children[hello.agent_id, hello.epoch]

    def _begin(self) -> None:
        for link in self.links:
            link.ready = True
            self.runner.attached(link)
        for link in self.links:
            self.runner.heard(link, m.PrepareResult(RUN))
            self.runner.heard(link, m.Heartbeat(RUN, 1))
        self.runner.heard(min(self.links, key=lambda link: link.agent_id), m.SetupResult(RUN))
        assert self.runner.machine.phase == "running"
        self._drain()

    def _drain(self) -> int:
        """Encode what waits for agents and relays; return how many messages that are."""
        messages = 0
        ends: list[Any] = self.relays or self.links
        for end in ends:
            while not end._outbox.empty():
                message = end._outbox.get_nowait()
                encode = encode_relay_response if self.relays else encode_response
                data = encode(message).SerializeToString()
                messages += 1
                if self.relays:
                    self._told.append((end.relay_id, data))
        return messages

    def requests(self, second: int) -> list[tuple[int, bytes]]:
        """Return what comes in in one second, as bytes, by the number of its stream."""
        deltas = [self._delta(second, variant) for variant in range(VARIANTS)]
        out: list[tuple[int, bytes]] = []
        for index, link in enumerate(self.links):
            records: list[r.FromAgent] = []
            if int((second + 1) / self._beat_s + index / 7) > int(second / self._beat_s + index / 7):
                reading = r.WorkerReading(0, 2, 0, 1, 400, 100_000_000)
                records.append(r.Heartbeat(RUN, second * 10**9 + 5, (reading,), 0, 300))
            number, rest = divmod(second + 1 + index % self.every_s, self.every_s)
            if not rest:
                number -= index % self.every_s != 0
                where = r.SnapshotRange(link.agent_id, link.epoch, number, number)
                records += [r.SnapshotBlock(RUN, (where,), deltas[index % VARIANTS])] if number else []
                self.expected += self.every_s * self.load.samples * len(TRANSACTIONS) if number else 0
            if self.relays:
                self._to_relay(index, *records)
            else:
                out += [(index, agent_wire.encode_from_agent(record).SerializeToString()) for record in records]
        self._tell_relays(second)
        for number, machine in enumerate(self.machines):
            for instruction in machine.handle(e.Tick(), (second + 2) * 10**9):
                if isinstance(instruction, e.SendUp):
                    out.append((number, relay_wire.encode_from_relay(instruction.record).SerializeToString()))
        return out

    def _delta(self, second: int, variant: int) -> bytes:
        """Return what an agent reports at the end of `second`: the seconds since its last report, empty at first."""
        first = second + 1 - self.every_s
        parts = [second_delta(self.load, at, variant) for at in range(first, second + 1)] if first >= 0 else []
        return encode_delta(merge_deltas(parts), dense=True) if parts else b""

    def _tell_relays(self, second: int) -> None:
        """Let the relays hear what the controller said: leases say how often heartbeats are wanted."""
        machines = {relay.relay_id: machine for relay, machine in zip(self.relays, self.machines, strict=True)}
        for relay_id, data in self._told:
            heard = relay_wire.decode_from_head(relay_pb2.RelayResponse.FromString(data))
            machines[relay_id].handle(heard, (second + 2) * 10**9)
        self._told.clear()

    def _to_relay(self, index: int, *records: r.FromAgent) -> None:
        machine, link = self.machines[index % len(self.relays)], self.links[index]
        if machine.up != "open":
            machine.handle(e.UplinkOpened(), 0)
            machine.handle(e.Heard(rr.RelayWelcome(1)), 0)
        if (link.agent_id, link.epoch) not in machine.children:
            hello = r.Hello(1, 1, LAYOUT_ID, link.agent_id, link.epoch)
            machine.handle(e.ChildSpoke(index, hello, b""), 0)
        for record in records:
            machine.handle(e.ChildSpoke(index, record, b""), 0)

    def on_its_way(self) -> int:
        """Return how many transactions relays have heard of and the controller has not."""
        self._tell_relays(self.load.seconds)
        held = [block for machine in self.machines for child in machine.children.values() for block in child.held]
        return sum(block.started or 0 for block in held)

    def second(self, second: int) -> tuple[float, int]:
        """Take one second in; return the processor time it took in seconds, and messages both ways."""
        came = self.requests(second)
        self.now_ns = (second + 2) * 10**9
        began = time.process_time()
        for number, data in came:
            if self.relays:
                said = decode_relay_request(relay_pb2.RelayRequest.FromString(data))
                self.station.heard(self.relays[number], said, 0)
            else:
                self.fleet.heard(self.links[number], decode_request(pb.AttachRequest.FromString(data)), 0)
        for _ in range(round(1 / TICK_S)):
            self.runner._handle(ev.Tick())
        assert self.runner.merged.deltas or second < 2 * self.every_s  # adds up what waits
        went = self._drain()
        return time.process_time() - began, len(came) + went


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--relays", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=34)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lp-work") as folder:
        work = Work(FleetLoad(options.agents, options.seconds, 20), options.relays, Path(folder))
        collector.settle()  # as the command does
        readings = [work.second(second) for second in range(options.seconds)][2 * work.every_s :]
    merged = sum(delivery.started for delivery in work.runner.merged.delivery.values())
    assert merged == work.expected - work.on_its_way(), (merged, work.expected)
    print(json.dumps({"agents": options.agents, "relays": options.relays, "started": merged,
                      "ms": round(fmean(seconds for seconds, _ in readings) * 1e3, 1),
                      "messages": round(fmean(count for _, count in readings), 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
