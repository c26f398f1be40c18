"""Simulated agents: each with the real uplink and a connection of its own, none with workers.

    python -m benchmarks.fleet_agents ADDRESS FIRST COUNT AGENTS SECONDS SAMPLES

Attaches agents FIRST to FIRST + COUNT - 1, lets them answer as agents do and report prebuilt deltas; prints what they
saw as JSON when the run is over.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import cache

import grpc.aio
import uvloop

from benchmarks.fleet_load import VARIANTS, FleetLoad, Prebuilt, prebuild
from loadproof.histogram import LAYOUT_ID
from loadproof_agent import events as e
from loadproof_agent import records as r
from loadproof_agent.config import Limits
from loadproof_agent.uplink import OPTIONS, LinkEvent, Uplink

HEARTBEAT_MS = 1_000
CONNECTING = 8
"""Agents of a process that attach at the same time."""


def agent_name(index: int) -> str:
    """Return the name of a simulated agent; its identity is its name twice."""
    return f"sim-{index:04d}"


class OwnConnection(Uplink):
    """The agent's uplink with a connection of its own, as one on another machine has."""

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.address, options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)])


class SimulatedAgent:
    """Answers like an agent; reports block after block from Start on."""

    def __init__(self, address: str, index: int, load: FleetLoad) -> None:
        self.index, self._load = index, load
        self._name = agent_name(index)
        self.uplink = OwnConnection((address,), on_event=self.on_event, limits=Limits())
        self._run_id = ""
        self._fence = 0
        self._shards: tuple[r.ShardGrant, ...] = ()
        self._sent_ns: dict[int, int] = {}
        self._acked = 0
        self._finished = False
        self._every_ms = 1_000
        self.heartbeat_ms = HEARTBEAT_MS
        self.ack_ms: list[float] = []
        self.disconnects = 0
        self.start_at_ns = 0
        self.attached = asyncio.Event()
        self.started = asyncio.Event()
        self.over = asyncio.Event()
        self.all_acked = asyncio.Event()

    def on_event(self, event: LinkEvent) -> None:
        """Take what the uplink says."""
        if isinstance(event, e.Connected):
            identity, run_id = self._name * 2, self._run_id
            hello = r.Hello(
                1, 1, LAYOUT_ID, self._name, self.index + 1, host="simulated", identity=identity, run_id=run_id
            )
            self.uplink.send(hello)
        elif isinstance(event, e.Disconnected):
            self.disconnects += not self._finished
            self.attached.set()
            if self._finished:  # a controller that is done may close before a busy machine lets us read its End
                self._leave()
        else:
            self._hear(event.record)

    def _hear(self, message: r.FromController) -> None:
        now = time.monotonic_ns()
        if isinstance(message, r.Ping):
            self.attached.set()
            self.uplink.send(r.Pong(message.id, message.sent_ns, now, time.monotonic_ns()))
        elif isinstance(message, r.SnapshotAck):
            for seq in range(self._acked + 1, message.seq + 1):
                self.ack_ms.append((now - self._sent_ns.pop(seq)) / 1e6)
            self._acked = max(self._acked, message.seq)
            self._finished = self._acked == len(self.prebuilt().blocks)
        elif isinstance(message, r.Lease):
            self._fence, self._shards = message.fence, message.shards
        elif isinstance(message, r.Prepare):
            self._run_id, self._every_ms = message.run_id, message.snapshot_ms
            self.heartbeat_ms = message.heartbeat_ms or HEARTBEAT_MS
            self.prebuilt()
            self.uplink.send(r.PrepareResult(self._run_id))
        elif isinstance(message, r.Setup):
            self.uplink.send(r.SetupResult(self._run_id, b"null"))
        elif isinstance(message, r.Start):
            self.start_at_ns = message.start_at_ns
            self.started.set()
        elif isinstance(message, r.Teardown):
            self.uplink.send(r.TeardownResult(self._run_id))
        elif isinstance(message, r.End):
            self._finished = True
            self._leave()

    def _leave(self) -> None:
        self.over.set()
        self.started.set()
        self.uplink.close()

    def prebuilt(self) -> Prebuilt:
        """Return what this agent reports."""
        return prebuilt(self._load, self._every_ms, self.index % VARIANTS)

    def beat(self) -> None:
        """Say that the agent lives."""
        reading = r.WorkerReading(0, 2, 0, 1, 400, 100_000_000)
        beat = r.Heartbeat(self._run_id, time.monotonic_ns(), (reading,), len(self._sent_ns), 300)
        self.uplink.send(beat)

    async def report(self) -> None:
        """Send every block when its interval is over, spread over the interval, then Final."""
        await self.started.wait()
        if self.over.is_set():
            return
        mine, every_s = self.prebuilt(), self._every_ms / 1_000
        spread_s = every_s * (self.index % 100) / 100
        for seq, block in enumerate(mine.blocks, 1):
            due_s = min(seq * every_s, self._load.seconds) + spread_s
            await asyncio.sleep(max(self.start_at_ns / 1e9 + due_s - time.monotonic(), 0))
            where = r.SnapshotRange(self._name, self.index + 1, seq, seq)
            self._sent_ns[seq] = time.monotonic_ns()
            self.uplink.send(r.SnapshotBlock(self._run_id, (where,), block))
        shards = tuple(r.ShardFinal(grant.shard, self._fence, grant.first_k, 0) for grant in self._shards)
        self.uplink.send(r.Final(self._run_id, self.index + 1, len(mine.blocks), shards, mine.encoded_totals, 0))
        self._reported = True


@cache
def prebuilt(load: FleetLoad, every_ms: int, variant: int) -> Prebuilt:
    """Make what agents of a variant report, once for all of them."""
    return prebuild(load, every_ms, variant)


async def _beat(agents: list[SimulatedAgent]) -> None:
    while True:
        began = time.monotonic()
        for position, agent in enumerate(agents):
            agent.beat()
            due = began + agent.heartbeat_ms / 1_000 * (position + 1) / len(agents)
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())


async def main(addresses: list[str], indices: range, load: FleetLoad) -> None:
    """Do what the module says."""
    agents = [SimulatedAgent(addresses[index % len(addresses)], index, load) for index in indices]
    async with asyncio.TaskGroup() as group:
        for first in range(0, len(agents), CONNECTING):
            some = agents[first : first + CONNECTING]
            for agent in some:
                group.create_task(agent.uplink.run())
                group.create_task(agent.report())
            for agent in some:
                await agent.attached.wait()
        beating = group.create_task(_beat(agents))
        for agent in agents:
            await agent.over.wait()
        beating.cancel()
    acks = sorted(ms for agent in agents for ms in agent.ack_ms)
    print(json.dumps({"acks_ms": acks, "disconnects": sum(agent.disconnects for agent in agents)}))


if __name__ == "__main__":
    first, count, *numbers = map(int, sys.argv[2:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1].split(","), range(first, first + count), FleetLoad(*numbers)))
